//! Gateways with certificates, through kills of the node and of themselves.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::process::Twind;
use crate::simulator::Simulator;

fn version(node: &Twind) -> u64 {
    let (_, twin) = node.request("GET", "twins/s", None);
    twin["properties"]["reported"]["$version"].as_u64().unwrap_or(0)
}

/// Waits until the device has reported more than before.
fn until_it_reports(node: &Twind) {
    let (begun, before) = (Instant::now(), version(node));
    while version(node) <= before {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing was reported since version {before}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until a session was refused or ended for this.
fn until_refused(node: &Twind, code: &str) {
    let begun = Instant::now();
    while node.metric(&format!("twinmesh_sessions_refused_total{{code=\"{code}\"}}")) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody was refused as {code}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_gateway_with_a_certificate_comes_back_after_the_node_and_itself_were_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    let simulator = Simulator::certified(&node, "store-1", "gw-1");
    let mut recording = "timestamp,value\n".to_owned();
    for row in 0..100_000 {
        writeln!(recording, "t{row},{row}").unwrap();
    }
    simulator.recording("s.csv", &recording);
    let mut running = simulator.start("200", &["s.csv"]);
    until_it_reports(&node);
    for _ in 0..3 {
        node.kill();
        node = Twind::start_at(dir.path(), simulator.quic(), &[]);
        until_it_reports(&node);
        // Killed when it is dropped.
        drop(running);
        running = simulator.start("200", &["s.csv"]);
        until_it_reports(&node);
    }
    let (status, site) = node.request("GET", "sites/store-1", None);
    assert_eq!((status, site["gateways"][0]["certificateSha256"].as_str().map(str::len)), (200, Some(64)), "{site}");
    // Revoked, it is out at once, and stays out when either of them comes again.
    assert_eq!(node.request("DELETE", "sites/store-1/gateways/gw-1", None).0, 204);
    until_refused(&node, "revoked");
    let before = version(&node);
    node.kill();
    let node = Twind::start_at(dir.path(), simulator.quic(), &[]);
    drop(running);
    let running = simulator.start("200", &["s.csv"]);
    until_refused(&node, "certificate-unknown");
    assert_eq!(version(&node), before, "a revoked gateway was let in");
    drop(running);
    node.kill();
}
