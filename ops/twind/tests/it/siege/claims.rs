//! Lengths that are claimed: 4 GB of a frame, of a body, of a chunk. Nothing is set aside for what did not come.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use twin_transports::frames::session::{Open, StreamClass};

use super::alone;
use super::others::{Others, credentials};
use crate::by_hand::{ByHand, bytes_of, hello};
use crate::process::Twind;

/// How many claim it at the same time.
const CLAIMS: usize = 100;
/// The length of 4 GB, and the first byte of what shall have it.
const FRAME: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x92];
const WAIT: Duration = Duration::from_secs(30);
/// What the node may grow by.
const LITTLE_BYTES: u64 = 64 * 1024 * 1024;

#[test]
fn frames_that_claim_4_gb_are_refused_at_their_length_and_take_no_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    let (before, mut most) = (node.resident_bytes(), 0);
    let known = credentials(&node, "known");
    let counted = "twinmesh_sessions_refused_total{code=\"frame-too-long\"}";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut strangers = Vec::new();
        for _ in 0..CLAIMS {
            let mut stranger = ByHand::connect(&node, &known).await;
            stranger.control.send(&FRAME).await;
            strangers.push(stranger);
            most = most.max(node.resident_bytes());
        }
        for stranger in &mut strangers {
            assert_eq!(stranger.control.refused().await.code, "frame-too-long");
        }
        assert_eq!(node.metric(counted), CLAIMS as u64);
        // With credentials it is no different, on any stream.
        for class in [StreamClass::State, StreamClass::Alarms, StreamClass::Telemetry] {
            let (mut gateway, _) = ByHand::open(&node, &known, &hello(&known, 1)).await;
            let _stream = gateway.stream_of(&[&bytes_of(Open { class })[..], &FRAME].concat()).await;
            assert_eq!(gateway.control.refused().await.code, "frame-too-long");
            most = most.max(node.resident_bytes());
        }
        let (mut gateway, _) = ByHand::open(&node, &known, &hello(&known, 1)).await;
        gateway.control.send(&FRAME).await;
        assert_eq!(gateway.control.refused().await.code, "frame-too-long");
        assert_eq!(node.metric(counted), CLAIMS as u64 + 4);
    });
    assert!(most < before + LITTLE_BYTES, "{before} {most}");
    others.went_on();
    node.kill();
}

#[test]
fn bodies_that_claim_4_gb_are_refused_and_take_no_memory() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let others = Others::begin(&node);
    let (before, mut most) = (node.resident_bytes(), 0);
    let known = format!("Authorization: Bearer {}\r\n", node.token);
    // A length that is told beforehand, and a chunk's. Whoever has no token is not asked for the body.
    let (long, chunk) = ("Content-Length: 4294967295\r\n\r\n{", "Transfer-Encoding: chunked\r\n\r\nffffffff\r\n{");
    for (who, body, statuses) in [
        ("", long, &["401"][..]),
        ("", chunk, &["401"]),
        (&known, long, &["413"]),
        // It may be sent: the node reads as far as a body may go, and waits no longer than for any other.
        (&known, chunk, &["408", "413", "400"]),
    ] {
        let mut clients = Vec::new();
        for number in 0..CLAIMS {
            let mut client = node.door.connect(WAIT).unwrap();
            let head = "Host: node\r\nContent-Type: application/json\r\nConnection: close\r\n";
            let request = format!("PUT /api/v1/twins/claim-{number} HTTP/1.1\r\n{who}{head}{body}");
            client.write_all(request.as_bytes()).unwrap();
            clients.push(client);
            most = most.max(node.resident_bytes());
        }
        let begun = Instant::now();
        for mut client in clients {
            let mut status = [0; 12];
            client.read_exact(&mut status).unwrap();
            let status = std::str::from_utf8(&status[9..]).unwrap();
            assert!(statuses.contains(&status), "{status} is none of {statuses:?}");
            most = most.max(node.resident_bytes());
        }
        println!("{} answers after {:?}", statuses[0], begun.elapsed());
    }
    assert!(most < before + LITTLE_BYTES, "{before} {most}");
    others.went_on();
    assert_eq!(node.request("GET", "twins/claim-0", None).0, 404);
    node.kill();
}
