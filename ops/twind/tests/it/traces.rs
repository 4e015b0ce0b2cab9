//! Traces reach a collector, and the last ones are not lost at the stop.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use crate::process::Twind;

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
