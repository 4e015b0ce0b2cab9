//! A change with an idempotency key, and a node that is killed before it answers.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::process::Twind;

fn request(node: &Twind, round: u64) -> String {
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap();
    let body = json!({"desired": {"n": round}}).to_string();
    format!(
        "PATCH /api/v1/twins/t HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nIdempotency-Key: \"round-{round}\"\r\nContent-Length: {}\r\n\r\n{body}",
        node.token,
        body.len()
    )
}

/// Sends the change again: was it carried out before? And what came of it.
fn send_again(node: &Twind, round: u64) -> (bool, String) {
    let answer = node.raw(&request(node, round)).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200 "), "{answer}");
    let outcome = answer.lines().find_map(|line| line.strip_prefix("idempotency-outcome: ")).unwrap().to_owned();
    (answer.contains("\r\nidempotency-replayed: true\r\n"), outcome)
}

fn desired(node: &Twind) -> (u64, u64) {
    let (status, desired) = node.request("GET", "twins/t/desired", None);
    assert_eq!(status, 200);
    (desired["n"].as_u64().unwrap(), desired["$version"].as_u64().unwrap())
}

#[test]
fn killed_between_a_change_and_its_answer_the_change_takes_effect_once_however_often_it_is_sent() {
    const OTHER: u64 = 1_000_000;
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    assert_eq!(node.request("PUT", "twins/t", Some(json!({"desired": {"n": 0}}))).0, 201);
    let mut survived = 0;
    // A twin remembers eight.
    for round in 1..=8 {
        let (_, before) = desired(&node);
        let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.write_all(request(&node, round).as_bytes()).unwrap();
        // Between at once, and after a commit takes here.
        let until = Instant::now() + Duration::from_micros(700 * (round - 1));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        node.kill();
        node = Twind::start(dir.path());
        let (replayed, outcome) = send_again(&node, round);
        survived += u64::from(replayed);
        assert_eq!(desired(&node), (round, before + 1), "once, whether the node was killed before or after it");
        // Somebody else writes; the change sent again, also over another death, must not undo that.
        assert_eq!(node.request("PATCH", "twins/t", Some(json!({"desired": {"n": OTHER + round}}))).0, 200);
        assert_eq!(send_again(&node, round), (true, outcome.clone()));
        node.kill();
        node = Twind::start(dir.path());
        assert_eq!(send_again(&node, round), (true, outcome));
        assert_eq!(desired(&node), (OTHER + round, before + 2));
    }
    println!("{survived} of 8 changes survived the node that did not answer");
    for round in 1..=8 {
        assert!(send_again(&node, round).0, "round {round}");
    }
    assert_eq!(desired(&node), (OTHER + 8, 17));
    node.kill();
}
