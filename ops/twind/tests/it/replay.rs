//! `twin-sim replay` against a real node: every row takes effect once, whoever is killed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::Twind;
use crate::simulator::Simulator;

/// Chance that is the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A recording, what its last row reports, and how many rows change anything.
struct Recorded {
    text: String,
    last: Value,
    changes: u64,
}

/// Rows like those of a sensor: values repeat, and now and then a whole row does.
fn recorded(rows: u64, chance: &mut Chance) -> Recorded {
    let mut text = "timestamp,value\n".to_owned();
    let (mut last, mut changes, mut minute) = (Value::Null, 0, 0);
    for _ in 0..rows {
        minute += u64::from(chance.below(10) > 0) * 5;
        let value =
            if chance.below(2) == 0 { format!("{}", chance.below(4)) } else { format!("{}.25", chance.below(3)) };
        let timestamp = format!("2015-07-{:02} {:02}:{:02}:00", 1 + minute / 1440, minute / 60 % 24, minute % 60);
        let row = json!({"timestamp": timestamp, "value": value.parse::<f64>().unwrap()});
        changes += u64::from(row != last);
        writeln!(text, "{timestamp},{value}").unwrap();
        last = row;
    }
    Recorded { text, last, changes }
}

fn assert_replayed(node: &Twind, device: &str, recorded: &Recorded) {
    let (status, twin) = node.request("GET", &format!("twins/{device}"), None);
    assert_eq!(status, 200, "{twin}");
    let reported = &twin["properties"]["reported"];
    assert_eq!(reported["timestamp"], recorded.last["timestamp"], "{device}");
    assert_eq!(reported["value"].as_f64(), recorded.last["value"].as_f64(), "{device}");
    assert_eq!(reported["$version"], 1 + recorded.changes, "{device}: each row took effect once");
}

#[test]
fn recordings_are_replayed_row_by_row_and_a_second_run_has_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    let mut chance = Chance(1);
    let files = ["s1.csv", "s2.csv", "s3.csv"];
    let recordings: Vec<Recorded> = [300, 1, 77].map(|rows| recorded(rows, &mut chance)).into();
    for (file, recorded) in files.iter().zip(&recordings) {
        simulator.recording(file, &recorded.text);
    }
    for round in 0..2 {
        let ended = simulator.replay(&files);
        assert_eq!(ended.stderr.contains("nothing was left to report"), round == 1, "{}", ended.stderr);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "rows=378 acked=378\n"), "{}", ended.stderr);
        for (device, recorded) in ["s1", "s2", "s3"].iter().zip(&recordings) {
            assert_replayed(&node, device, recorded);
        }
    }
    let (_, twin) = node.request("GET", "twins/s1", None);
    assert!(twin["properties"]["reported"]["timestamp"].is_string());
    assert_eq!(twin["site"], "store-1");
    node.kill();
}

#[test]
fn killed_at_random_moments_on_either_side_each_row_takes_effect_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    let mut chance = Chance(7);
    let files = ["a.csv", "b.csv"];
    let recordings = [recorded(900, &mut chance), recorded(700, &mut chance)];
    for (file, recorded) in files.iter().zip(&recordings) {
        simulator.recording(file, &recorded.text);
    }
    let mut replay = simulator.start("500", &files);
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(40 + chance.below(260)));
        if chance.below(2) == 0 {
            replay.signal("-KILL");
            assert_eq!(replay.ended().code, None, "round {round}: it was not over yet");
            replay = simulator.start("500", &files);
        } else {
            node.kill();
            node = Twind::start_at(dir.path(), simulator.quic(), &[]);
        }
    }
    let ended = replay.ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "rows=1600 acked=1600\n"), "{}", ended.stderr);
    for (device, recorded) in ["a", "b"].iter().zip(&recordings) {
        assert_replayed(&node, device, recorded);
    }
    node.kill();
    let node = Twind::start(dir.path());
    assert_replayed(&node, "a", &recordings[0]);
    node.kill();
}

#[test]
fn a_replay_waits_for_a_node_that_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    node.kill();
    let recorded = recorded(50, &mut Chance(3));
    simulator.recording("s.csv", &recorded.text);
    let mut replay = simulator.start("max", &["s.csv"]);
    std::thread::sleep(Duration::from_millis(500));
    assert!(!replay.has_ended());
    let node = Twind::start_at(dir.path(), simulator.quic(), &[]);
    let ended = replay.ended();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "rows=50 acked=50\n"), "{}", ended.stderr);
    assert_replayed(&node, "s", &recorded);
    node.kill();
}

#[test]
fn told_to_stop_it_stops_and_the_next_run_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    let recorded = recorded(2000, &mut Chance(4));
    simulator.recording("s.csv", &recorded.text);
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let replay = simulator.start("400", &["s.csv"]);
        std::thread::sleep(Duration::from_millis(700));
        replay.signal(signal);
        let asked = Instant::now();
        let ended = replay.ended();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{}", ended.stderr);
        assert!(ended.stderr.contains("run it again to go on"), "{}", ended.stderr);
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(simulator.replay(&["s.csv"]).stdout, "rows=2000 acked=2000\n");
    assert_replayed(&node, "s", &recorded);
    node.kill();
}

#[test]
fn rows_that_no_node_will_take_are_counted_and_told_and_hold_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    // A device of another store.
    assert_eq!(node.request("PUT", "sites/store-2", Some(json!({}))).0, 201);
    assert_eq!(node.request("PUT", "twins/foreign", Some(json!({"site": "store-2"}))).0, 201);
    let (good, foreign) = (recorded(40, &mut Chance(5)), recorded(30, &mut Chance(6)));
    simulator.recording("good.csv", &good.text);
    simulator.recording("foreign.csv", &foreign.text);
    for _ in 0..2 {
        let ended = simulator.replay(&["good.csv", "foreign.csv"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "rows=70 acked=40\n"), "{}", ended.stderr);
        assert!(ended.stderr.contains("30 of 70 rows were refused for good"), "{}", ended.stderr);
        assert!(ended.stderr.contains("foreign: 30 rows: the twin belongs to site store-2"), "{}", ended.stderr);
    }
    assert_replayed(&node, "good", &good);
    let (_, twin) = node.request("GET", "twins/foreign", None);
    assert_eq!(twin["properties"]["reported"]["$version"], 1);
    node.kill();
}

#[test]
fn a_refused_recording_is_not_held_against_later_ones_of_its_device() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    assert_eq!(node.request("PUT", "sites/store-2", Some(json!({}))).0, 201);
    assert_eq!(node.request("PUT", "twins/s", Some(json!({"site": "store-2"}))).0, 201);
    let refused = "timestamp,value\nt1,1\nt2,2\n";
    simulator.recording("s.csv", refused);
    let ended = simulator.replay(&["s.csv"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "rows=2 acked=0\n"), "{}", ended.stderr);
    assert_eq!(node.request("DELETE", "twins/s", None).0, 204);
    simulator.recording("s.csv", "timestamp,value\nt3,3\nt4,4\nt5,5\n");
    for _ in 0..2 {
        let ended = simulator.replay(&["s.csv"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "rows=3 acked=3\n"), "{}", ended.stderr);
    }
    let (_, twin) = node.request("GET", "twins/s", None);
    assert_eq!(twin["properties"]["reported"]["value"], json!(5));
    // The first one again, longer by a row: its own refusals are still told.
    simulator.recording("s.csv", &format!("{refused}t6,6\n"));
    let ended = simulator.replay(&["s.csv"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), "rows=3 acked=1\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("2 of 3 rows were refused for good"), "{}", ended.stderr);
    node.kill();
}

#[test]
fn rows_whose_dead_letters_were_discarded_stay_refused_and_those_replayed_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    assert_eq!(node.request("PUT", "sites/store-2", Some(json!({}))).0, 201);
    assert_eq!(node.request("PUT", "twins/s", Some(json!({"site": "store-2"}))).0, 201);
    simulator.recording("s.csv", "timestamp,value\nt1,1\nt2,2\nt3,3\nt4,4\n");
    let replayed = |acked: u64, discarded: u64| {
        let ended = simulator.replay(&["s.csv"]);
        let rows = format!("rows=4 acked={acked}\n");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), &*rows), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{} of 4 rows were refused for good", 4 - acked)), "{}", ended.stderr);
        let told = format!("{discarded} rows whose dead letters were discarded");
        assert_eq!(ended.stderr.contains(&told), discarded > 0, "{}", ended.stderr);
    };
    replayed(0, 0);
    simulator.dead_letters(&["discard", "1"]);
    replayed(0, 1);
    // The device comes to this store, and two of its rows are said again.
    assert_eq!(node.request("DELETE", "twins/s", None).0, 204);
    simulator.dead_letters(&["replay", "2", "3"]);
    replayed(2, 1);
    simulator.dead_letters(&["discard", "--all"]);
    replayed(2, 2);
    let (_, twin) = node.request("GET", "twins/s", None);
    assert_eq!(twin["properties"]["reported"]["value"], json!(3));
    node.kill();
}

#[test]
fn a_device_that_another_gateway_had_is_claimed() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let first = Simulator::new(&node, "store-1", "gw-1");
    let second = Simulator::new(&node, "store-1", "gw-2");
    first.recording("s.csv", "timestamp,value\nt1,1\nt2,2\n");
    second.recording("s.csv", "timestamp,value\nt3,3\n");
    assert_eq!(first.replay(&["s.csv"]).code, Some(0));
    let ended = second.replay(&["s.csv"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "rows=1 acked=1\n"), "{}", ended.stderr);
    let (_, twin) = node.request("GET", "twins/s", None);
    assert_eq!(
        (&twin["properties"]["reported"]["value"], &twin["properties"]["reported"]["$version"]),
        (&json!(3), &json!(4))
    );
    node.kill();
}

#[test]
fn a_gateway_that_was_revoked_is_told_so_rather_than_waiting_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    simulator.recording("s.csv", "timestamp,value\nt1,1\n");
    assert_eq!(node.request("DELETE", "sites/store-1/gateways/gw-1", None).0, 204);
    let ended = simulator.replay(&["s.csv"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("the node refuses this gateway"), "{}", ended.stderr);
    node.kill();
}

#[test]
fn a_gateway_that_has_gone_is_shown_as_it_left() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    simulator.recording("s.csv", "timestamp,value\nt1,1\nt2,2\n");
    // Over long before its second heartbeat would be due; the first had the rows in the outbox and no device attached.
    assert_eq!(simulator.replay(&["s.csv"]).code, Some(0));
    let deadline = Instant::now() + Duration::from_secs(5);
    let as_it_left = loop {
        let (_, site) = node.request("GET", "sites/store-1", None);
        let gateway = &site["gateways"][0];
        if gateway["connected"] == false && gateway["status"]["devices"] == 1 || Instant::now() > deadline {
            break gateway.clone();
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let status = &as_it_left["status"];
    assert_eq!(
        (&as_it_left["connected"], &status["devices"], &status["backlogMessages"]),
        (&json!(false), &json!(1), &json!(0)),
        "{as_it_left}"
    );
    node.kill();
}

#[test]
fn a_twin_deleted_under_a_replay_is_there_again_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    let recorded = recorded(20_000, &mut Chance(8));
    simulator.recording("s.csv", &recorded.text);
    let _replay = simulator.start("200", &["s.csv"]);
    let reported = || node.request("GET", "twins/s", None).1["properties"]["reported"]["$version"].as_u64();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(4), "not within 4 s: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until("it reports", &|| reported() > Some(1));
    assert_eq!(node.request("DELETE", "twins/s", None).0, 204);
    // The site's enrolment is open, so the next report's attach makes it again.
    until("it is there again", &|| reported().is_some());
    let made_again = reported();
    until("and reports", &|| reported() > made_again);
    node.kill();
}
