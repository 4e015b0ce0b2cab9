//! Starting and stopping.

use std::io::{Read as _, Write as _};

use twin_node::{Node, NodeError, NodeOptions};

use crate::world::{World, client_of, start_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_and_an_address_are_one_nodes() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(dir.path()).await;
    let error = Node::start(NodeOptions::local(dir.path().join("data"))).await.unwrap_err();
    assert!(matches!(error, NodeError::Storage(_)), "{error}");
    assert!(error.to_string().contains("in use"), "{error}");
    let mut taken = NodeOptions::local(dir.path().join("other"));
    taken.http = client_of(&node).addr;
    let error = Node::start(taken).await.unwrap_err();
    assert!(matches!(error, NodeError::Http { .. }), "{error}");
    let mut taken = NodeOptions::local(dir.path().join("other"));
    taken.quic = node.quic_addr();
    let error = Node::start(taken).await.unwrap_err();
    assert!(matches!(error, NodeError::Quic(_)), "{error}");
    client_of(&node).get("/readyz").expect(200);
    node.shutdown().await;
    // What failed to start has let go of its files.
    start_in(dir.path()).await.shutdown().await;
    Node::start(NodeOptions::local(dir.path().join("other"))).await.unwrap().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_closes_idle_connections_and_the_ports() {
    let world = World::start().await;
    let client = world.client();
    let mut idle = client.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut seen = [0; 12];
    idle.read_exact(&mut seen).unwrap();
    assert_eq!(&seen, b"HTTP/1.1 200");
    let begun = std::time::Instant::now();
    world.node.shutdown().await;
    assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(std::net::TcpStream::connect(client.addr).is_err());
}
