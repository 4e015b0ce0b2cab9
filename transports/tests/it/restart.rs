//! A node that is killed and started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use quinn::{ConnectionError, WriteError};
use twin_transports::auth::Credentials;
use twin_transports::endpoint::{client_endpoint, connect};
use twin_transports::server::{Server, ServerOptions};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::backend::Recorder;
use crate::server::WAIT;

/// A server on a runtime of its own, which can go without a goodbye.
fn serve(certificates: &NodeCertificates, addr: SocketAddr) -> (tokio::runtime::Runtime, SocketAddr, Credentials) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let inside = runtime.enter();
    let mut options = ServerOptions::new(addr, certificates.quic_server_config().unwrap());
    options.reset_key = Some(certificates.reset_key());
    let backend = Recorder::new();
    let mut credentials = backend.add_gateway("store", "gateway");
    credentials.ca = certificates.ca_pem();
    let server = Server::bind(options, backend).unwrap();
    let addr = server.handle().local_addr();
    runtime.spawn(server.run());
    drop(inside);
    (runtime, addr, credentials)
}

#[tokio::test]
async fn a_gateway_learns_of_a_killed_nodes_return_long_before_the_idle_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let load = || NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
    let (first, addr, credentials) = serve(&load(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let endpoint = client_endpoint(addr).unwrap();
    let connection = connect(&endpoint, addr, &credentials).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(b"something").await.unwrap();

    // As a kill does: nothing more is sent, and the port is free.
    tokio::task::spawn_blocking(move || first.shutdown_timeout(WAIT)).await.unwrap();
    let (second, _, _) = serve(&load(), addr);
    // The new node may have answered already what was sent again meanwhile: then the writing finds what is looked for below.
    match send.write_all(b"more").await {
        Ok(()) | Err(WriteError::ConnectionLost(ConnectionError::Reset)) => {}
        Err(error) => panic!("{error}"),
    }
    let ended = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
    assert!(matches!(ended, Ok(ConnectionError::Reset)), "{ended:?}");
    second.shutdown_background();
}
