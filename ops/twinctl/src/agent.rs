//! What every HTTP client of this program has in common: one TLS, for the node and for object stores.

use std::sync::Arc;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

use crate::limits::CONNECT_TIMEOUT;

/// An agent to be finished by whoever wants one. It trusts these certificates and no others, and goes where it is sent and nowhere
/// else, for what it carries is for that address alone.
pub(crate) fn trusting(roots: RootCerts) -> ConfigBuilder<AgentScope> {
    let tls = TlsConfig::builder()
        .root_certs(roots)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("twinctl/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT))
}

/// For plain connections, which stay on this machine: nobody.
pub(crate) fn nobody() -> RootCerts {
    RootCerts::new_with_certs(&[])
}
