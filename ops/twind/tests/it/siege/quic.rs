//! Strangers at the gateways' door.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use twin_transports::endpoint::quic_client_config;
use twin_transports::tls::SERVER_NAME;
use twin_visible_skip::skipped;

use super::others::{Others, report_once};
use super::watched::Watched;
use super::{EACH_MAX, alone, attackers};
use crate::by_hand::quic_addr;
use crate::process::Twind;

/// All of 127/8 is this machine: another host than the gateway's.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Places of those that have not authenticated that one host may have: three quarters.
const PLACES_OF_A_HOST: u64 = 384;
/// Connections that are no stranger's: the gateway's, the newcomer's, and each while it is told that it may go.
const CONNECTIONS_OF_OTHERS: u64 = 8;
/// How long the siege lasts at least.
const SIEGE: Duration = Duration::from_secs(8);
/// And at most: both sides of 10,000 handshakes are a minute of a core in a debug build. On a machine that is too slow for all of them
/// within this time those that had no try are told as skipped.
const SIEGE_MAX: Duration = Duration::from_secs(45);
/// So many try at the same time: those that got in stay besides. With more of them they spend their time on sending again what was lost
/// for want of room in the node's socket.
const AT_A_TIME: usize = 128;
/// So many may wait for packets that were lost.
const FEW: usize = 100;
/// Fewer than this part of them would be no siege.
const ENOUGH: usize = 10;
/// How often the node is asked, which costs it something.
const LOOK: Duration = Duration::from_millis(250);

#[test]
fn ten_thousand_handshakes_that_lead_to_no_session_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    // All of them share a socket.
    let (mut watched, count) = (Watched::begin(&node), attackers("the QUIC port", 0));
    let (addr, ca) = (quic_addr(&node), std::fs::read_to_string(dir.path().join("ca.pem")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tried = Arc::new(AtomicUsize::new(0));
    let (config, counting) = (quic_client_config(&ca).unwrap(), tried.clone());
    let turns = Arc::new(tokio::sync::Semaphore::new(AT_A_TIME));
    runtime.spawn(async move {
        let endpoint = quinn::Endpoint::client((HOSTILE, 0).into()).unwrap();
        for number in 0..count {
            let turn = turns.clone().acquire_owned().await.unwrap();
            let connecting = endpoint.connect_with(config.clone(), addr, SERVER_NAME).unwrap();
            let counting = counting.clone();
            tokio::spawn(async move {
                let outcome = connecting.await;
                drop(turn);
                counting.fetch_add(1, Ordering::Relaxed);
                // Whoever gets in says nothing, and stays; every fourth leaves at once.
                match outcome {
                    Ok(connection) if number % 4 > 0 => _ = connection.closed().await,
                    Ok(_) | Err(_) => {}
                }
            });
        }
    });
    let (mut most_open, begun) = (0, Instant::now());
    let mut joined = None;
    let few = FEW.min(count / 10);
    let all_tried = || tried.load(Ordering::Relaxed) + few >= count;
    while begun.elapsed() < SIEGE || !all_tried() && begun.elapsed() < SIEGE_MAX {
        watched.look();
        most_open = most_open.max(node.metric("twinmesh_quic_connections_open"));
        if begun.elapsed() > SIEGE / 2 && joined.is_none() {
            joined = Some(report_once(&node, "newcomer"));
        }
        std::thread::sleep(LOOK);
    }
    let there = tried.load(Ordering::Relaxed);
    assert!(there >= count / ENOUGH, "only {there} of {count} had their try");
    if there + few < count {
        skipped(&format!("a siege of the QUIC port by {count}: {there} had their try within {SIEGE_MAX:?}"));
    }
    let refused = node.metric("twinmesh_sessions_refused_total{code=\"busy\"}");
    let retried = node.metric("twinmesh_quic_retries_total");
    println!(
        "{there} in {:?}: at most {most_open} connections, {refused} refused, {retried} asked to show their address; a newcomer was acked after {joined:?}",
        begun.elapsed()
    );
    others.went_on();
    assert!(retried > 0, "nobody was asked");
    assert!(refused > 0 && most_open <= PLACES_OF_A_HOST + CONNECTIONS_OF_OTHERS, "{refused} {most_open}");
    assert!(joined.unwrap() < EACH_MAX, "{joined:?}");
    drop(runtime);
    watched.stayed_in_its_bounds();
    node.kill();
}

/// First packets of real clients, which nobody will answer.
fn first_packets(count: usize, ca: &str) -> Vec<Vec<u8>> {
    let sink = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    sink.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let to = sink.local_addr().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = quic_client_config(ca).unwrap();
    let (mut packets, mut connecting) = (HashMap::new(), Vec::new());
    let endpoint = runtime.block_on(async { quinn::Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap() });
    // A connection's task is started by whoever connects.
    let _context = runtime.enter();
    while packets.len() < count {
        connecting.push(endpoint.connect_with(config.clone(), to, SERVER_NAME).unwrap());
        let mut packet = vec![0; 2_000];
        let length = sink.recv(&mut packet).unwrap();
        packet.truncate(length);
        // A client sends it again after a while. Its own id for the connection, of 8 to 20 bytes, stands behind 5 others and its length.
        packets.insert(packet[6..14].to_vec(), packet);
    }
    packets.into_values().collect()
}

#[test]
fn a_flood_of_first_packets_from_nowhere_holds_up_nobody() {
    const PACKETS: usize = 1_000;
    const FLOOD: usize = 50_000;
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let packets = first_packets(PACKETS, &std::fs::read_to_string(dir.path().join("ca.pem")).unwrap());
    let others = Others::begin(&node);
    let (mut watched, addr) = (Watched::begin(&node), quic_addr(&node));
    let mut joined = None;
    let begun = Instant::now();
    for round in 0..FLOOD / PACKETS {
        // Each round comes from somewhere else, and is not read.
        let socket = UdpSocket::bind((HOSTILE, 0)).unwrap();
        for packet in &packets {
            // A full buffer loses it, as networks do.
            let _ = socket.send_to(packet, addr);
        }
        watched.look();
        if round == 10 {
            joined = Some(report_once(&node, "newcomer"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (refused, retried) =
        (node.metric("twinmesh_sessions_refused_total{code=\"busy\"}"), node.metric("twinmesh_quic_retries_total"));
    println!(
        "{FLOOD} first packets in {:?}: {refused} refused, {retried} asked to show their address",
        begun.elapsed()
    );
    println!("a newcomer was acked after {joined:?}");
    others.went_on();
    assert!(retried > 0, "nobody was asked");
    assert!(joined.unwrap() < EACH_MAX, "{joined:?}");
    watched.stayed_in_its_bounds();
    node.kill();
}
