//! `POST /api/v1/twins:batchUpdate` on the real process.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::Twind;

const TWINS: u64 = 500;

/// Sends items without end, each with a higher `n`, until the connection breaks; returns the results that came.
fn items_until_killed(node: Twind, after_results: usize, from: u64) -> Vec<Value> {
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    let mut to = TcpStream::connect(&addr).unwrap();
    to.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /api/v1/twins:batchUpdate HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        node.token
    );
    to.write_all(head.as_bytes()).unwrap();
    let reader = BufReader::new(to.try_clone().unwrap());
    let sender = std::thread::spawn(move || {
        for n in from.. {
            let line = format!("{}\n", json!({"id": format!("t-{}", n % TWINS), "desired": {"n": n}}));
            if write!(to, "{:x}\r\n{line}\r\n", line.len()).is_err() {
                return;
            }
        }
    });
    let mut results = Vec::new();
    let mut node = Some(node);
    // A chunk holds whole lines, so only the kill can cut one in two; the others on the wire are chunk sizes.
    for line in reader.lines().map_while(Result::ok) {
        if let Ok(result @ Value::Object(_)) = serde_json::from_str(&line) {
            assert_eq!(result["status"], 200, "{result}");
            results.push(result);
        }
        if results.len() >= after_results
            && let Some(node) = node.take()
        {
            node.kill();
        }
    }
    assert!(node.is_none(), "the stream ended by itself");
    sender.join().unwrap();
    results
}

#[test]
fn killed_in_the_middle_of_a_batch_every_item_with_a_result_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Twind::start(dir.path());
    for n in 0..TWINS {
        assert_eq!(node.request("PUT", &format!("twins/t-{n}"), Some(json!({}))).0, 201);
    }
    // The highest `n` that was acknowledged.
    let mut acknowledged = vec![None; TWINS as usize];
    for round in 0..4 {
        let from = round * 10_000_000;
        let results = items_until_killed(node, 1_000 + 777 * round as usize, from);
        for (n, result) in (from..).zip(&results) {
            assert_eq!(result["id"], format!("t-{}", n % TWINS), "one result an item, in order");
            acknowledged[(n % TWINS) as usize] = Some(n);
        }
        node = Twind::start(dir.path());
        for (twin, n) in acknowledged.iter().enumerate() {
            let (status, desired) = node.request("GET", &format!("twins/t-{twin}/desired"), None);
            assert_eq!(status, 200);
            assert!(desired["n"].as_u64() >= *n, "t-{twin}: {desired}, but {n:?} was acknowledged");
        }
    }
    assert!(acknowledged.iter().all(Option::is_some));
    node.kill();
}
