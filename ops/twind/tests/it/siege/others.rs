//! Whoever has credentials: a gateway that reports, and a REST client that reads, each time over a new connection.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options};

use super::{EACH_MAX, MEDIAN_MAX};
use crate::door::Door;
use crate::process::Twind;

pub(super) struct Others {
    stop: Arc<AtomicBool>,
    gateway: JoinHandle<Vec<Duration>>,
    client: JoinHandle<Vec<Duration>>,
}

/// Credentials of a new gateway, as the node gave them.
pub(super) fn credentials(node: &Twind, name: &str) -> Credentials {
    let site = node.request("PUT", "sites/store", Some(json!({"enrolment": "open"})));
    assert!(site.0 < 300, "{site:?}");
    let (status, made) = node.request("POST", "sites/store/gateways", Some(json!({"name": name})));
    assert_eq!(status, 201, "{made}");
    Credentials::from_json(&made.to_string()).unwrap()
}

/// A gateway opens, reports once and leaves; how long until its report was acked.
pub(super) fn report_once(node: &Twind, name: &str) -> Duration {
    let credentials = credentials(node, name);
    let quic = node.ready["quic"].as_str().unwrap().to_owned();
    let begun = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = tempfile::tempdir().unwrap();
        let gateway = Gateway::open(Options::new(quic, credentials, state.path())).unwrap();
        let device = TwinId::new(name).unwrap();
        gateway.report(&device, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
        let took = begun.elapsed();
        gateway.shutdown().await;
        took
    })
}

impl Others {
    /// Begin; both have had an answer when this returns.
    pub(super) fn begin(node: &Twind) -> Self {
        report_once(node, "label");
        let stop = Arc::new(AtomicBool::new(false));
        let (credentials, quic) = (credentials(node, "gw"), node.ready["quic"].as_str().unwrap().to_owned());
        let stopping = stop.clone();
        let gateway = std::thread::spawn(move || report(credentials, quic, &stopping));
        let (door, token, stopping) = (node.door.clone(), node.token.clone(), stop.clone());
        let client = std::thread::spawn(move || read(&door, &token, &stopping));
        Self { stop, gateway, client }
    }

    /// Both went on all the time, and waited for no answer longer than they may.
    pub(super) fn went_on(self) {
        self.stop.store(true, Ordering::Relaxed);
        for (who, thread) in [("gateway", self.gateway), ("REST client", self.client)] {
            let mut took = thread.join().unwrap_or_else(|_| panic!("the {who} had no answer"));
            took.sort_unstable();
            let (median, slowest) = (took[took.len() / 2], took[took.len() - 1]);
            let tenth = took[took.len() * 9 / 10];
            println!(
                "{who}: {} answers, median {median:?}, one in ten above {tenth:?}, slowest {slowest:?}",
                took.len()
            );
            assert!(slowest < EACH_MAX && median < MEDIAN_MAX, "{who}: {median:?} {slowest:?}");
        }
    }
}

fn report(credentials: Credentials, quic: String, stop: &AtomicBool) -> Vec<Duration> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let state = tempfile::tempdir().unwrap();
        let gateway = Gateway::open(Options::new(quic, credentials, state.path())).unwrap();
        let device = TwinId::new("shelf").unwrap();
        let mut took = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let receipt = gateway.report(&device, &json!({"n": took.len()})).await.unwrap();
            tokio::time::timeout(2 * EACH_MAX, receipt.acked()).await.expect("an ack in time").unwrap();
            took.push(begun.elapsed());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        gateway.shutdown().await;
        took
    })
}

fn read(door: &Door, token: &str, stop: &AtomicBool) -> Vec<Duration> {
    let addr = door.addr;
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut stream = door.connect(2 * EACH_MAX).unwrap();
        let request = format!(
            "GET /api/v1/twins/label HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        took.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    took
}
