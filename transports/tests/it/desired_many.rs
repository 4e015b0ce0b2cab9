//! Desired changes that go down as they were committed, and many in a frame.

use std::time::Duration;

use twin_core::command::{Command, StateBody};
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay, Version};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::codec::Frame;
use twin_transports::frames::batch::{StateBatch, StateMessage, WireBody};
use twin_transports::frames::device::{Desired, DesiredReceived};
use twin_transports::frames::session::StreamClass;
use twin_transports::limits::{DELIVERED_INTERVAL, DELTA_BYTES_MAX, DESIRED_ITEMS_MAX};

use crate::backend::{Recorder, owner};
use crate::batches::twin;
use crate::control::attach;
use crate::gateway::{Gateway, hello, next};
use crate::server::TestServer;

/// A gateway that takes many deltas in a frame, with so many twins that are at a version.
async fn attached(server: &TestServer, twins: usize, version: u64) -> Gateway {
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(server, &credentials).await;
    let mut hello = hello(&credentials);
    hello.desired_many = true;
    assert!(matches!(gateway.handshake(&credentials, &hello).await, Frame::Welcome(_)));
    server.backend.desired.lock().extend((0..twins).map(|index| (twin(index), version)));
    for (request, first) in (0..twins).step_by(250).enumerate() {
        gateway.writer.send(attach(request as u64, first..twins.min(first + 250), version)).await.unwrap();
        assert!(matches!(gateway.next().await, Frame::AttachResults(_)));
    }
    gateway
}

/// The twin changes by one version, as the cluster tells it.
fn change(backend: &Recorder, twin: &TwinId, version: u64, value: impl Into<Value>) {
    backend.desired.lock().insert(twin.clone(), version);
    let ops = [Op::Set { path: Path::from_keys(["price"]), value: value.into() }];
    backend.link().desired_became(twin, Version::new(version), &ops);
}

fn fetches(backend: &Recorder) -> usize {
    backend.commands.lock().iter().filter(|(_, command, _)| matches!(command, Command::ReadDelta { .. })).count()
}

async fn deltas(gateway: &mut Gateway) -> Vec<Desired> {
    match gateway.next().await {
        Frame::DesiredMany(many) => {
            assert!((1..=DESIRED_ITEMS_MAX).contains(&many.items.len()));
            many.items
        }
        other => panic!("not deltas: {other:?}"),
    }
}

#[tokio::test]
async fn a_change_that_follows_what_was_sent_goes_down_as_it_is() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 1, 5).await;
    for version in 6..9 {
        change(&server.backend, &twin(0), version, version as i64);
        let ops = vec![Op::Set { path: Path::from_keys(["price"]), value: Value::from(version as i64) }];
        let (from, to) = (Version::new(version - 1), Version::new(version));
        let expected = Desired { twin: twin(0), owner: owner(), from, to, snapshot: false, ops };
        assert_eq!(deltas(&mut gateway).await, [expected]);
    }
    assert_eq!(fetches(&server.backend), 0);
    // One that does not follow is fetched, and then they follow again.
    change(&server.backend, &twin(0), 10, 10);
    assert_eq!(deltas(&mut gateway).await[0].to, Version::new(10));
    assert_eq!(fetches(&server.backend), 1);
    change(&server.backend, &twin(0), 11, 11);
    assert_eq!(deltas(&mut gateway).await[0].from, Version::new(10));
    assert_eq!(fetches(&server.backend), 1);
}

#[tokio::test]
async fn changes_of_many_twins_share_frames_and_each_comes_once() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 2_000, 1).await;
    for index in 0..2_000 {
        change(&server.backend, &twin(index), 2, 7);
    }
    let (mut frames, mut seen) = (0, std::collections::HashSet::new());
    while seen.len() < 2_000 {
        frames += 1;
        assert!(deltas(&mut gateway).await.into_iter().all(|delta| seen.insert(delta.twin)));
    }
    assert!(frames < 200, "{frames} frames");
    gateway.quiet().await;
}

#[tokio::test]
async fn a_gateway_that_reads_late_misses_nothing_and_what_waits_for_it_is_bounded() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 500, 1).await;
    // Ten times what its stream takes unread: all but some of it is only noted.
    for version in 2..4 {
        for index in 0..500 {
            change(&server.backend, &twin(index), version, Value::String("x".repeat(16 * 1024).into()));
        }
    }
    let mut known = vec![1; 500];
    let mut bytes = 0;
    while known.iter().any(|version| *version < 3) {
        for delta in deltas(&mut gateway).await {
            let index: usize = delta.twin.as_str().trim_start_matches("esl-").parse().unwrap();
            assert_eq!(delta.from.get(), known[index], "no gap");
            known[index] = delta.to.get();
            bytes += match &delta.ops[0] {
                Op::Set { value: Value::String(text), .. } => text.len(),
                _ => 0,
            };
        }
    }
    assert!(fetches(&server.backend) > 400, "{} were fetched", fetches(&server.backend));
    assert!(bytes < 2 * 1024 * 1024, "{bytes} bytes waited");
    gateway.quiet().await;
}

#[tokio::test]
async fn notes_and_changes_in_any_mixture_lead_to_the_last_version_without_a_gap() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 1, 1).await;
    let backend = server.backend.clone();
    let storm = std::thread::spawn(move || {
        for version in 2..=20_000 {
            if version % 5 == 0 {
                backend.steer(&twin(0), version);
            } else {
                change(&backend, &twin(0), version, 1);
            }
            if version % 64 == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut known = Version::new(1);
    while known.get() < 20_000 {
        for delta in deltas(&mut gateway).await {
            assert_eq!(delta.from, known, "each delta begins where the last one ended");
            known = delta.to;
        }
    }
    storm.join().unwrap();
    gateway.quiet().await;
}

#[tokio::test]
async fn a_change_too_large_for_its_operations_is_fetched_and_does_not_end_the_session() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 1, 1).await;
    change(&server.backend, &twin(0), 2, Value::String("x".repeat(DELTA_BYTES_MAX).into()));
    let delta = deltas(&mut gateway).await.remove(0);
    assert_eq!((delta.from.get(), delta.to.get()), (1, 2));
    assert_eq!(fetches(&server.backend), 1);
}

#[tokio::test]
async fn what_a_device_has_applied_is_not_told_as_delivered_first() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 2, 1).await;
    let items = vec![(twin(0), Version::new(4)), (twin(1), Version::new(4)), (twin(9), Version::new(4))];
    gateway.writer.send(DesiredReceived { items }).await.unwrap();
    // Read by now: the frames of a stream are in order.
    gateway.writer.send(attach(77, 0..1, 1)).await.unwrap();
    assert!(matches!(gateway.next().await, Frame::AttachResults(_)));
    let (mut acks, mut up) = gateway.stream(StreamClass::State).await;
    let stay = Stay { boot: Boot::new(1), counter: 1 };
    let body = WireBody::DesiredApplied(Version::new(4));
    let message = StateMessage { twin: 0, stay, first: Seq::new(1), more: 0, body };
    let (twins, paths) = (vec![twin(0)], Vec::new());
    up.send(StateBatch { batch: 1, reset: true, twins, paths, messages: vec![message], trace: None }).await.unwrap();
    assert!(matches!(next(&mut acks).await, Frame::BatchAck(ack) if ack.refused.is_empty()));
    tokio::time::sleep(DELIVERED_INTERVAL * 2 + Duration::from_millis(200)).await;
    let commands = server.backend.commands.lock().clone();
    let told = |applied: bool| -> Vec<TwinId> {
        let is_it = |command: &Command| match command {
            Command::DesiredDelivered { .. } => !applied,
            Command::State { body: StateBody::DesiredApplied(_), .. } => applied,
            _ => false,
        };
        commands.iter().filter(|(_, command, _)| is_it(command)).map(|(twin, ..)| twin.clone()).collect()
    };
    assert_eq!(told(true), [twin(0)]);
    assert_eq!(told(false), [twin(1)], "not what is applied, and not what is not attached here");
}
