//! Strangers at the gateways' door.

use std::collections::HashMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use twin_transports::endpoint::quic_client_config;
use twin_transports::tls::SERVER_NAME;

use super::others::{Others, report_once};
use super::{EACH_MAX, alone, attackers, stayed_small};
use crate::by_hand::quic_addr;
use crate::process::Twind;

/// All of 127/8 is this machine: another host than the gateway's.
const HOSTILE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Places of those that have not authenticated that one host may have: three quarters.
const PLACES_OF_A_HOST: u64 = 384;
/// Connections that are no stranger's: the gateway's, the newcomer's, and each while it is told that it may go.
const CONNECTIONS_OF_OTHERS: u64 = 8;
/// How long each stranger tries.
const SIEGE: Duration = Duration::from_secs(8);

#[test]
fn thousands_of_handshakes_that_lead_to_no_session_hold_up_nobody() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    let (before, count) = (node.resident_bytes(), attackers(1_500));
    let (addr, ca) = (quic_addr(&node), std::fs::read_to_string(dir.path().join("ca.pem")).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let tried = Arc::new(AtomicUsize::new(0));
    let (config, counting) = (quic_client_config(&ca).unwrap(), tried.clone());
    runtime.spawn(async move {
        let endpoint = quinn::Endpoint::client((HOSTILE, 0).into()).unwrap();
        for number in 0..count {
            counting.fetch_add(1, Ordering::Relaxed);
            let Ok(connecting) = endpoint.connect_with(config.clone(), addr, SERVER_NAME) else { continue };
            tokio::spawn(async move {
                // Whoever gets in says nothing, and stays; every fourth leaves at once.
                match connecting.await {
                    Ok(connection) if number % 4 > 0 => _ = connection.closed().await,
                    Ok(_) | Err(_) => {}
                }
            });
            if number % 16 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let (mut most, mut most_open, begun) = (0, 0, Instant::now());
    let mut joined = None;
    while begun.elapsed() < SIEGE || tried.load(Ordering::Relaxed) < count {
        assert!(begun.elapsed() < 30 * SIEGE, "the attackers are too slow for this test");
        most = most.max(node.resident_bytes());
        most_open = most_open.max(node.metric("twinmesh_quic_connections_open"));
        if begun.elapsed() > SIEGE / 2 && joined.is_none() {
            joined = Some(report_once(&node, "newcomer"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = node.metric("twinmesh_sessions_refused_total{code=\"busy\"}");
    let retried = node.metric("twinmesh_quic_retries_total");
    println!(
        "at most {most_open} connections, {refused} refused, {retried} asked to show their address; a newcomer was acked after {joined:?}"
    );
    others.went_on();
    assert!(retried > 0, "nobody was asked");
    assert!(refused > 0 && most_open <= PLACES_OF_A_HOST + CONNECTIONS_OF_OTHERS, "{refused} {most_open}");
    assert!(joined.unwrap() < EACH_MAX, "{joined:?}");
    stayed_small(&node, before, most);
    drop(runtime);
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
    let (before, addr) = (node.resident_bytes(), quic_addr(&node));
    let (mut most, mut joined) = (0, None);
    let begun = Instant::now();
    for round in 0..FLOOD / PACKETS {
        // Each round comes from somewhere else, and is not read.
        let socket = UdpSocket::bind((HOSTILE, 0)).unwrap();
        for packet in &packets {
            // A full buffer loses it, as networks do.
            let _ = socket.send_to(packet, addr);
        }
        most = most.max(node.resident_bytes());
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
    stayed_small(&node, before, most);
    node.kill();
}
