//! Traces reach a collector, and the last ones are not lost at the stop.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use crate::process::Twind;
use crate::simulator::Simulator;
use crate::spans::{Span, spans};

/// Takes exports; hands over each request as it came.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut seen = Vec::new();
            let mut buffer = [0; 8_192];
            loop {
                let n = stream.read(&mut buffer).unwrap_or(0);
                seen.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&seen);
                let Some((head, _)) = text.split_once("\r\n\r\n") else {
                    if n == 0 {
                        break;
                    }
                    continue;
                };
                let length =
                    head.to_ascii_lowercase().lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
                if n == 0 || seen.len() >= head.len() + 4 + length.unwrap_or(0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                    let _ = sender.send(seen);
                    break;
                }
            }
        }
    });
    (url, receiver)
}

#[test]
fn a_request_continues_its_callers_trace_and_the_stop_exports_it() {
    let (url, exports) = collector();
    let dir = tempfile::tempdir().unwrap();
    // Nothing that begins here is sampled: only the caller's decision counts.
    let node = Twind::start_with(dir.path(), &["--otlp-endpoint", &url, "--trace-ratio", "0"]);
    let trace: [u8; 16] = *b"\x4b\xf9\x2f\x35\x77\xb3\x4d\xa6\xa3\xce\x92\x9d\x0e\x0e\x47\x36";
    let header = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(node.request_with("GET", "twins/none", None, header).0, 404);
    node.signal("-TERM");
    assert!(node.wait().0.success());
    let export = exports.recv_timeout(Duration::from_secs(10)).expect("an export before the end");
    assert!(export.starts_with(b"POST /v1/traces "));
    let holds = |needle: &[u8]| export.windows(needle.len()).any(|window| window == needle);
    assert!(holds(&trace), "the trace id");
    assert!(holds(b"/api/v1/twins/{id}"), "the route of the span");
}

/// Where nobody exports them reads have none: nobody else would look at it.
#[test]
fn a_read_has_a_span_where_traces_are_exported_also_if_its_caller_traces_nothing() {
    let (url, exports) = collector();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start_with(dir.path(), &["--otlp-endpoint", &url, "--trace-ratio", "1"]);
    assert_eq!(node.request("GET", "twins/none", None).0, 404);
    node.signal("-TERM");
    assert!(node.wait().0.success());
    let mut exported = exports.recv_timeout(Duration::from_secs(10)).expect("an export before the end");
    exported.extend(exports.try_iter().flatten());
    let route = b"/api/v1/twins/{id}";
    assert!(exported.windows(route.len()).any(|window| window == route), "the route of the span");
}

/// The span of this name, which there is.
fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert!(!found.is_empty(), "no span {name:?} in {spans:?}");
    found
}

#[test]
fn one_trace_leads_from_the_gateway_over_session_and_grain_to_the_commit_and_back() {
    let (url, exports) = collector();
    let dir = tempfile::tempdir().unwrap();
    // The gateway decides what is traced.
    let node = Twind::start_with(dir.path(), &["--otlp-endpoint", &url, "--trace-ratio", "0"]);
    let simulator = Simulator::new(&node, "store-1", "gw-1");
    simulator.recording("s.csv", "timestamp,value\nt1,1\nt2,2\nt3,3\n");
    let ended = simulator.traced("1", &url, &["s.csv"]).ended();
    assert_eq!(ended.stdout, "rows=3 acked=3\n", "{}", ended.stderr);
    let ended = simulator.traced("0", &url, &["s.csv"]).ended();
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    node.signal("-TERM");
    assert!(node.wait().0.success());
    let all: Vec<Span> = exports.try_iter().flat_map(|export| spans(&export)).collect();
    let commit = named(&all, "commit")[0];
    let trace: Vec<Span> = all.iter().filter(|span| span.trace == commit.trace).cloned().collect();
    let grain = named(&trace, "grain").into_iter().find(|span| span.id == commit.parent).expect("the commit's grain");
    let batch = named(&trace, "batch").into_iter().find(|span| span.id == grain.parent).expect("the grain's batch");
    let send = named(&trace, "send").into_iter().find(|span| span.id == batch.parent).expect("the batch's gateway");
    assert!(send.parent.is_empty(), "the trace begins at the gateway: {send:?}");
    assert_eq!(
        (send.service.as_str(), batch.service.as_str(), commit.service.as_str()),
        ("twin-sim", "twind", "twind")
    );
    // And back: what waits for the commit's answer ends after it, at last the gateway's.
    let begun = [send, batch, grain, commit].map(|span| span.begun_ns);
    assert!(begun.is_sorted(), "{begun:?}");
    assert!(commit.ended_ns > commit.begun_ns, "{commit:?}");
    for waits in [batch, send] {
        assert!(waits.ended_ns >= commit.ended_ns, "{waits:?} {commit:?}");
    }
}
