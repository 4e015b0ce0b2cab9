//! A node that is killed and started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use quinn::ConnectionError;
use tokio::net::UdpSocket;
use twin_transports::auth::Credentials;
use twin_transports::endpoint::{client_endpoint, connect};
use twin_transports::server::{Server, ServerOptions};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::backend::Recorder;
use crate::server::WAIT;

/// A server on a runtime of its own, so that it can end without being asked.
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

/// Forwards packets to the node and back while it is open. A runtime that is shut down may still say goodbye; a killed process may not.
async fn path_to(node: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let (front, back) = (
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
        UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(),
    );
    let (addr, open) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(true)));
    let its_open = Arc::clone(&open);
    tokio::spawn(async move {
        let (mut up, mut down, mut gateway) = (vec![0; 65_536], vec![0; 65_536], None);
        loop {
            // What cannot be sent or received, as to a port that nobody listens at, is lost: that is what UDP promises.
            tokio::select! {
                received = front.recv_from(&mut up) => if let Ok((length, from)) = received {
                    gateway = Some(from);
                    if its_open.load(Ordering::SeqCst) {
                        let _ = back.send_to(&up[..length], node).await;
                    }
                },
                received = back.recv(&mut down) => if let (Ok(length), Some(gateway)) = (received, gateway)
                    && its_open.load(Ordering::SeqCst)
                {
                    let _ = front.send_to(&down[..length], gateway).await;
                },
            }
        }
    });
    (addr, open)
}

#[tokio::test]
async fn a_gateway_learns_of_a_killed_nodes_return_long_before_the_idle_timeout() {
    let dir = tempfile::tempdir().unwrap();
    let load = || NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
    let (first, addr, credentials) = serve(&load(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let (path, open) = path_to(addr).await;
    let endpoint = client_endpoint(path).unwrap();
    let connection = connect(&endpoint, path, &credentials).await.unwrap();
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(b"something").await.unwrap();

    // As a kill does: nothing more is heard of it, and the port is free.
    open.store(false, Ordering::SeqCst);
    tokio::task::spawn_blocking(move || first.shutdown_timeout(WAIT)).await.unwrap();
    let (second, _, _) = serve(&load(), addr);
    // Written while the path is cut, so that no answer can come before it.
    send.write_all(b"more").await.unwrap();
    open.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(Duration::from_secs(5), connection.closed()).await;
    assert!(matches!(ended, Ok(ConnectionError::Reset)), "{ended:?}");
    second.shutdown_background();
}
