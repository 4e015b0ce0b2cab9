//! A node that goes silent: the gateway goes on over a new connection, or on the old one if that answers first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::time::Instant;
use twin_gateway::Gateway;

use crate::node::{Node, World, eventually, id, within};

/// Which flows (by the gateway's address) get through.
#[derive(Default)]
struct Network {
    flows: Vec<SocketAddr>,
    dead: Vec<SocketAddr>,
    all_dead: bool,
    only_first: bool,
}

impl Network {
    fn lets_through(&self, flow: SocketAddr) -> bool {
        let first = self.flows.first() == Some(&flow);
        !self.all_dead && !self.dead.contains(&flow) && (first || !self.only_first)
    }
}

/// Forwards packets to the node and back, as far as the network lets them.
async fn path_to(node: SocketAddr) -> (SocketAddr, Arc<Mutex<Network>>) {
    let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let (addr, network) = (front.local_addr().unwrap(), Arc::new(Mutex::new(Network::default())));
    let its_network = Arc::clone(&network);
    tokio::spawn(async move {
        let mut backs: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
        let mut packet = vec![0; 65_536];
        loop {
            let (length, flow) = front.recv_from(&mut packet).await.unwrap();
            let back = match backs.entry(flow) {
                Entry::Occupied(known) => Arc::clone(known.get()),
                Entry::Vacant(new) => {
                    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                    back.connect(node).await.unwrap();
                    its_network.lock().flows.push(flow);
                    tokio::spawn(answers(flow, Arc::clone(&back), Arc::clone(&front), Arc::clone(&its_network)));
                    Arc::clone(new.insert(back))
                }
            };
            if its_network.lock().lets_through(flow) {
                back.send(&packet[..length]).await.unwrap();
            }
        }
    });
    (addr, network)
}

async fn answers(flow: SocketAddr, back: Arc<UdpSocket>, front: Arc<UdpSocket>, network: Arc<Mutex<Network>>) {
    let mut packet = vec![0; 65_536];
    while let Ok(length) = back.recv(&mut packet).await {
        if network.lock().lets_through(flow) {
            front.send_to(&packet[..length], flow).await.unwrap();
        }
    }
}

async fn connected(node: &Node, dir: &std::path::Path) -> (Gateway, Arc<Mutex<Network>>) {
    let (addr, network) = path_to(node.addr()).await;
    let mut options = node.options("g1", dir);
    options.node = addr.to_string();
    let gateway = Gateway::open(options).unwrap();
    within("the ack", gateway.report(&id("d"), &json!({"n": 1})).await.unwrap().acked()).await.unwrap();
    (gateway, network)
}

#[tokio::test]
async fn a_path_that_died_is_left_for_a_new_connection() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let (gateway, network) = connected(&node, dir.path()).await;
    {
        let mut network = network.lock();
        network.dead = network.flows.clone();
    }
    let cut = Instant::now();
    within("the ack", gateway.report(&id("d"), &json!({"n": 2})).await.unwrap().acked()).await.unwrap();
    assert!(cut.elapsed() < Duration::from_secs(5), "{:?}, the idle timeout is 15 s", cut.elapsed());
    assert_eq!(gateway.status().counters.sessions, 2);
    assert_eq!(node.world.reported_version(&id("d")), 3, "each report took effect once");
}

#[tokio::test]
async fn a_hiccup_of_the_network_ends_no_session() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let (gateway, network) = connected(&node, dir.path()).await;
    let session = gateway.status().session;
    network.lock().all_dead = true;
    let receipt = gateway.report(&id("d"), &json!({"n": 2})).await.unwrap();
    // The search for another way has begun: that is what the hiccup is to be longer than.
    eventually("a second connection is tried", || network.lock().flows.len() > 1).await;
    {
        // New flows stay dead: otherwise the race might go either way.
        let mut network = network.lock();
        (network.all_dead, network.only_first) = (false, true);
    }
    within("the ack", receipt.acked()).await.unwrap();
    let status = gateway.status();
    assert_eq!((status.session, status.counters.sessions), (session, 1));
}

#[tokio::test]
async fn a_reading_that_waits_on_a_path_that_died_is_asked_again_on_the_new_one() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let (gateway, network) = connected(&node, dir.path()).await;
    {
        let mut network = network.lock();
        network.dead = network.flows.clone();
    }
    let view = within("the reading", gateway.get(&id("d"))).await.unwrap();
    assert_eq!(twin_core::json::to_compact(&view.reported().unwrap()), r#"{"n":1}"#);
    assert_eq!(gateway.status().counters.sessions, 2);
}
