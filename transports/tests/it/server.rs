//! A server on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use twin_transports::auth::Credentials;
use twin_transports::refuse::RefusalCode;
use twin_transports::server::{Server, ServerHandle, ServerOptions};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::backend::{Recorder, until};

pub(crate) struct TestServer {
    pub(crate) backend: Arc<Recorder>,
    pub(crate) handle: ServerHandle,
    pub(crate) certificates: NodeCertificates,
    _dir: TempDir,
}

impl TestServer {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut ServerOptions)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let certificates = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
        let mut options =
            ServerOptions::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), certificates.quic_server_config().unwrap());
        change(&mut options);
        let backend = Recorder::new();
        let server = Server::bind(options, backend.clone()).unwrap();
        let handle = server.handle();
        tokio::spawn(server.run());
        Self { backend, handle, certificates, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub(crate) fn gateway(&self, site: &str, name: &str) -> Credentials {
        let mut credentials = self.backend.add_gateway(site, name);
        credentials.ca = self.certificates.ca_pem();
        credentials
    }

    /// The refusal is counted once, and is the only one.
    pub(crate) async fn refused_once(&self, code: RefusalCode) {
        let stats = self.handle.stats();
        until("the refusal is counted", || stats.refused(code) == 1).await;
        let all: u64 = stats.refusals().map(|(_, count)| count).sum();
        assert_eq!(all, 1, "one refusal only");
    }
}

pub(crate) const WAIT: Duration = Duration::from_secs(10);
