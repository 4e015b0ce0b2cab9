//! A node that was killed and is back: its gateways are, too, within a moment.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::process::Twind;
use crate::simulator::{Running, Simulator};

/// No gateway may take longer. On a quiet machine they take under a second; this one may be compiling.
const EACH: Duration = Duration::from_secs(5);
/// Half of them must be faster. A gateway that only notices by QUIC's own probes or its heartbeat takes several seconds.
const MEDIAN: Duration = Duration::from_secs(2);
const GATEWAYS: usize = 4;
const ROUNDS: usize = 5;

/// What each gateway's device has reported so far.
fn versions(node: &Twind) -> Vec<u64> {
    let version = |number| {
        let (_, twin) = node.request("GET", &format!("twins/d{number}"), None);
        twin["properties"]["reported"]["$version"].as_u64().unwrap_or(0)
    };
    (0..GATEWAYS).map(version).collect()
}

/// How long it takes until each device has reported something new.
fn until_all_report(node: &Twind) -> Vec<Duration> {
    let (begun, before) = (Instant::now(), versions(node));
    let mut took = vec![None; GATEWAYS];
    while took.iter().any(Option::is_none) {
        assert!(begun.elapsed() < 2 * EACH, "not all gateways are back: {took:?}");
        for ((took, now), before) in took.iter_mut().zip(versions(node)).zip(&before) {
            if now > *before {
                took.get_or_insert(begun.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    took.into_iter().flatten().collect()
}

#[test]
fn gateways_are_acked_again_soon_after_their_node_was_killed_and_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    let mut recording = "timestamp,value\n".to_owned();
    for row in 0..100_000 {
        writeln!(recording, "t{row},{row}").unwrap();
    }
    let simulators: Vec<Simulator> =
        (0..GATEWAYS).map(|number| Simulator::new(&node, "store-1", &format!("gw-{number}"))).collect();
    let start = |(number, simulator): (usize, &Simulator)| {
        let file = format!("d{number}.csv");
        simulator.recording(&file, &recording);
        simulator.start("200", &[&file])
    };
    let _running: Vec<Running> = simulators.iter().enumerate().map(start).collect();
    until_all_report(&node);
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        node.kill();
        node = Twind::start_at(dir.path(), simulators[0].quic(), &[]);
        took.extend(until_all_report(&node));
    }
    took.sort_unstable();
    let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
    println!("from the ready line to the next report taken: median {median:?}, slowest {slowest:?}");
    assert!(median < MEDIAN && slowest < EACH, "{took:?}");
    node.kill();
}

#[test]
fn a_node_that_is_not_trusted_is_told_in_the_replays_progress() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (node, other) = (Twind::start(dir.path()), Twind::start(other_dir.path()));
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    simulator.trust(&Simulator::new(&other, "store-1", "gw-1"));
    simulator.recording("s.csv", "timestamp,value\nt1,1\n");
    let replay = simulator.start("max", &["s.csv"]);
    std::thread::sleep(Duration::from_secs(3));
    replay.signal("-TERM");
    let ended = replay.ended();
    assert_eq!(ended.code, Some(143), "it waits, as it does for a node that is away");
    assert!(
        ended.stderr.contains("waiting for the node: ")
            && ended.stderr.contains("the CA in the credentials is not that of the node"),
        "{}",
        ended.stderr
    );
    node.kill();
    other.kill();
}
