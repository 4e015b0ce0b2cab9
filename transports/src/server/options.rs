//! What a server is given.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::entropy::{Entropy, SystemEntropy};
use crate::limits::{CONNECTIONS_MAX, HANDSHAKE_TIMEOUT, HEARTBEAT_INTERVAL, UNAUTHENTICATED_MAX};
use crate::reset::ResetKey;

/// Called with the span of a sampled batch and the `traceparent` that the gateway sent, so that the node can link the two.
pub type OnTraceparent = fn(&tracing::Span, &str);

/// Options of a [`Server`](super::Server).
#[derive(Clone)]
pub struct ServerOptions {
    /// Where to listen; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// From [`NodeCertificates::quic_server_config`](crate::tls::NodeCertificates::quic_server_config).
    pub tls: rustls::ServerConfig,
    /// Lets gateways of an earlier process with the same key connect anew at once; none: after their idle timeout.
    pub reset_key: Option<ResetKey>,
    /// Where challenges come from.
    pub entropy: Arc<dyn Entropy>,
    /// Connections that have not authenticated yet; beyond, new ones are refused.
    pub unauthenticated_max: usize,
    /// All connections; beyond, new ones are refused.
    pub connections_max: usize,
    /// How long a handshake may take.
    pub handshake_timeout: Duration,
    /// How often gateways are asked for a heartbeat.
    pub heartbeat_interval: Duration,
    /// Links sampled batches to the node's tracing.
    pub on_traceparent: Option<OnTraceparent>,
}

impl ServerOptions {
    /// With the usual bounds.
    pub fn new(addr: SocketAddr, tls: rustls::ServerConfig) -> Self {
        Self {
            addr,
            tls,
            reset_key: None,
            entropy: Arc::new(SystemEntropy::new()),
            unauthenticated_max: UNAUTHENTICATED_MAX,
            connections_max: CONNECTIONS_MAX,
            handshake_timeout: HANDSHAKE_TIMEOUT,
            heartbeat_interval: HEARTBEAT_INTERVAL,
            on_traceparent: None,
        }
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions").field("addr", &self.addr).finish_non_exhaustive()
    }
}
