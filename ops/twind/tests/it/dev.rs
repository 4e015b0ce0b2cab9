//! `twind dev`: ready, killed, stopped.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::{Twind, twind};

#[test]
fn the_ready_line_is_all_that_stands_on_stdout() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    assert_eq!(node.ready["event"], "ready");
    assert_eq!(node.ready.as_object().unwrap().len(), 3);
    assert!(node.ready["http"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    let quic: std::net::SocketAddr = node.ready["quic"].as_str().unwrap().parse().unwrap();
    assert_ne!(quic.port(), 0);
    assert!(dir.path().join("ca.pem").exists());
    // Ready means ready: no write has to wait or be tried again.
    assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
    node.signal("-TERM");
    let (status, rest) = node.wait();
    assert!(status.success(), "{status}");
    assert_eq!(rest, "");
}

#[test]
fn ctrl_c_stops_gracefully_too() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let begun = Instant::now();
    node.signal("-INT");
    assert!(node.wait().0.success());
    assert!(begun.elapsed() < Duration::from_secs(5), "an idle node stops at once: {:?}", begun.elapsed());
}

#[test]
fn two_signals_at_once_are_one_wish() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let node = Twind::start(dir.path());
        // Of both kinds, so that the second one is not lost in the first.
        node.signals(&["-INT", "-TERM"]);
        let (status, _) = node.wait();
        assert!(status.success(), "{status}");
    }
}

#[test]
fn a_malformed_request_is_no_error_of_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let node = Twind::start_logging(dir.path(), std::fs::File::create(&log).unwrap());
    for garbage in ["\0\0\0\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "x\r\n\r\n"] {
        assert!(node.raw(garbage).starts_with("HTTP/1.1 400"), "{garbage:?}");
    }
    node.signal("-TERM");
    node.wait();
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("INFO") && !log.contains("ERROR"), "{log}");
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..5 {
        let node = Twind::start(dir.path());
        if round > 0 {
            let (status, twin) = node.request("GET", "twins/t", None);
            assert_eq!(status, 200);
            assert_eq!(twin["properties"]["desired"]["n"], acknowledged, "round {round}");
        }
        for _ in 0..20 {
            let wanted = acknowledged + 1;
            let method = if acknowledged == 0 { "PUT" } else { "PATCH" };
            let (status, _) = node.request(method, "twins/t", Some(json!({"desired": {"n": wanted}})));
            assert!(status == 200 || status == 201, "{status}");
            acknowledged = wanted;
        }
        node.kill();
    }
    let node = Twind::start(dir.path());
    let (_, twin) = node.request("GET", "twins/t", None);
    assert_eq!(twin["properties"]["desired"]["n"], acknowledged);
    assert_eq!(twin["properties"]["desired"]["$version"], acknowledged, "exactly one version a change");
    assert_eq!(node.token, std::fs::read_to_string(dir.path().join("admin.token")).unwrap().trim());
    node.kill();
}

#[test]
fn an_idle_node_is_lean() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
    let resident = node.resident_bytes();
    // Code that is not optimized is itself some 10 MB more.
    let bound = if cfg!(debug_assertions) { 80 } else { 50 } * 1024 * 1024;
    assert!(resident < bound, "{resident} bytes resident");
    node.kill();
}

#[test]
fn a_node_is_ready_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let start = || {
        let begun = Instant::now();
        let node = Twind::start(dir.path());
        let took = begun.elapsed();
        node.kill();
        took
    };
    // The best of a few: other tests use the same processors.
    let best = (0..5).map(|_| start()).min().unwrap();
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 100 });
    assert!(best < bound, "{best:?}");
}

#[test]
fn it_tells_its_version() {
    for args in [&["--version"][..], &["dev", "--version"]] {
        let output = twind(args).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8(output.stdout).unwrap().contains(env!("CARGO_PKG_VERSION")));
    }
}
