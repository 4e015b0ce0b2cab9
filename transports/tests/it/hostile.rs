//! Bytes that are not what the protocol says: a typed refusal, counted, and nothing else.

use twin_core::alarm::{Alarm, Severity};
use twin_core::command::Command;
use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay, WallTime};
use twin_core::value::Value;
use twin_transports::codec::{Frame, encode_datagram};
use twin_transports::frames::batch::{StateBatch, StateMessage, WireBody, WireOp};
use twin_transports::frames::health::Health;
use twin_transports::frames::session::{Heartbeat, Open, StreamClass, Welcome};
use twin_transports::limits::{BATCH_MESSAGES_MAX, FRAME_BYTES_MAX_UNAUTHENTICATED};
use twin_transports::refuse::RefusalCode;

use crate::gateway::{Gateway, hello};
use crate::server::TestServer;

/// Sends bytes in place of the handshake.
async fn before_auth(bytes: &[u8], finish: bool, code: RefusalCode) {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(&server, &credentials).await;
    gateway.writer.get_mut().write_all(bytes).await.unwrap();
    if finish {
        gateway.writer.get_mut().finish().unwrap();
    }
    assert_eq!(gateway.refused().await.code, code.as_str());
    server.refused_once(code).await;
    assert!(server.backend.saw_nothing());
}

/// Sends bytes on a state stream of an open session.
async fn on_state_stream(bytes: &[u8], finish: bool, code: RefusalCode) {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, Welcome { session, .. }) = Gateway::open(&server, &credentials).await;
    let (_reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.get_mut().write_all(bytes).await.unwrap();
    if finish {
        writer.get_mut().finish().unwrap();
    }
    assert_eq!(gateway.refused().await.code, code.as_str());
    server.refused_once(code).await;
    assert!(server.backend.commands.lock().is_empty());
    assert_eq!(*server.backend.closed.lock(), [session]);
}

fn noise(count: usize) -> Vec<u8> {
    // xorshift: the same noise in every run. The length prefix stays small so that it is the body that is nonsense.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes: Vec<u8> = (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect();
    bytes[..4].copy_from_slice(&(count as u32 - 4).to_be_bytes());
    bytes
}

#[tokio::test]
async fn random_bytes_are_refused() {
    before_auth(&noise(1000), false, RefusalCode::BadFrame).await;
    on_state_stream(&noise(100_000), false, RefusalCode::BadFrame).await;
}

#[tokio::test]
async fn a_frame_that_claims_4_gb_is_refused_at_its_length() {
    before_auth(&[0xff, 0xff, 0xff, 0xff, 0x92], false, RefusalCode::FrameTooLong).await;
    on_state_stream(&[0xff, 0xff, 0xff, 0xff, 0x92], false, RefusalCode::FrameTooLong).await;
}

#[tokio::test]
async fn a_frame_that_is_fine_later_is_too_long_before_authentication() {
    let claim = (FRAME_BYTES_MAX_UNAUTHENTICATED as u32 + 1).to_be_bytes();
    before_auth(&claim, false, RefusalCode::FrameTooLong).await;
}

#[tokio::test]
async fn a_truncated_frame_is_refused() {
    before_auth(&[0, 0, 0, 100, 0x92, 0x01], true, RefusalCode::BadFrame).await;
    before_auth(&[0, 0], true, RefusalCode::BadFrame).await;
    on_state_stream(&[0, 0, 1, 0, 0x92, 0x20], true, RefusalCode::BadFrame).await;
}

#[tokio::test]
async fn an_empty_frame_is_refused() {
    on_state_stream(&[0, 0, 0, 0], false, RefusalCode::BadFrame).await;
}

#[tokio::test]
async fn an_unknown_kind_is_skipped_and_counted() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    // [99, "future"]
    writer.get_mut().write_all(&[0, 0, 0, 9, 0x92, 99, 0xa6, b'f', b'u', b't', b'u', b'r', b'e']).await.unwrap();
    writer.send(batch(1, vec!["esl-1"], vec![])).await.unwrap();
    let twin_transports::codec::Frame::BatchAck(ack) = crate::gateway::next(&mut reader).await else {
        panic!("not an ack")
    };
    assert_eq!((ack.batch, ack.refused.len()), (1, 0));
    assert_eq!(server.handle.stats().frames_skipped.get(), 1);
}

fn batch(number: u64, twins: Vec<&str>, messages: Vec<StateMessage>) -> StateBatch {
    let twins = twins.into_iter().map(|twin| TwinId::new(twin).unwrap()).collect();
    StateBatch { batch: number, reset: false, twins, paths: vec![], messages, trace: None }
}

fn message(twin: u32, body: WireBody) -> StateMessage {
    StateMessage { twin, stay: Stay::default(), first: Seq::new(1), more: 0, body }
}

/// Sends batches; the last one breaks the protocol.
async fn bad_batch(batches: Vec<StateBatch>, words: &str) {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (_reader, mut writer) = gateway.stream(StreamClass::State).await;
    for batch in batches {
        writer.send(batch).await.unwrap();
    }
    let refused = gateway.refused().await;
    assert_eq!(refused.code, "bad-frame");
    assert!(refused.message.contains(words), "{}", refused.message);
    server.refused_once(RefusalCode::BadFrame).await;
    assert!(server.backend.commands.lock().is_empty(), "nothing of a bad batch is submitted");
}

#[tokio::test]
async fn an_unknown_index_is_refused_with_the_whole_batch() {
    let good = message(0, WireBody::Lost);
    bad_batch(vec![batch(1, vec!["esl-1"], vec![good.clone(), message(1, WireBody::Lost)])], "no twin id 1").await;
    let unknown_path = message(0, WireBody::Report(vec![(5, WireOp::Remove)]));
    bad_batch(vec![batch(1, vec!["esl-1"], vec![good, unknown_path])], "no path 5").await;
}

#[tokio::test]
async fn batch_numbers_rise_by_one() {
    bad_batch(vec![batch(1, vec!["esl-1"], vec![]), batch(3, vec![], vec![])], "batch 3 follows batch 1").await;
}

#[tokio::test]
async fn a_number_range_that_overflows_is_refused() {
    let mut overflowing = message(0, WireBody::Lost);
    overflowing.more = u64::MAX;
    bad_batch(vec![batch(1, vec!["esl-1"], vec![overflowing])], "2^64").await;
}

#[tokio::test]
async fn a_batch_with_too_many_messages_is_refused() {
    // Our own encoder would not write it, so it is put together by hand.
    let messages: Vec<StateMessage> = (0..=BATCH_MESSAGES_MAX).map(|_| message(0, WireBody::Lost)).collect();
    let body = rmp_serde::to_vec(&(32, batch(1, vec!["esl-1"], messages))).unwrap();
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    on_state_stream(&bytes, false, RefusalCode::BadFrame).await;
}

#[tokio::test]
async fn a_bad_twin_id_is_refused() {
    let body = rmp_serde::to_vec(&(32, (1, false, ["bad id"], [0_u8; 0], [0_u8; 0]))).unwrap();
    let mut bytes = (body.len() as u32).to_be_bytes().to_vec();
    bytes.extend(body);
    on_state_stream(&bytes, false, RefusalCode::BadFrame).await;
}

#[tokio::test]
async fn a_frame_on_the_wrong_stream_is_refused() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (mut gateway, _) = Gateway::open(&server, &credentials).await;
    gateway.writer.send(hello(&credentials)).await.unwrap();
    assert_eq!(gateway.refused().await.code, "bad-frame");

    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (_reader, mut writer) = gateway.stream(StreamClass::Telemetry).await;
    writer.send(batch(1, vec!["esl-1"], vec![message(0, WireBody::Lost)])).await.unwrap();
    assert_eq!(gateway.refused().await.code, "bad-frame");

    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (_reader, mut writer) = gateway.stream(StreamClass::Control).await;
    writer.send(Open { class: StreamClass::Control }).await.unwrap();
    assert_eq!(gateway.refused().await.code, "bad-frame");
    assert!(server.backend.commands.lock().is_empty());
}

#[tokio::test]
async fn a_message_of_another_class_than_its_stream_is_refused_with_the_whole_batch() {
    let alarm = Alarm {
        name: "door".into(),
        severity: Severity::Major,
        raised_at: WallTime::new(1),
        payload: Value::from("open"),
    };
    bad_batch(vec![batch(1, vec!["esl-1"], vec![message(0, WireBody::Alarm(Box::new(alarm.clone())))])], "class").await;

    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::Alarms).await;
    let mut second = message(0, WireBody::Lost);
    second.first = Seq::new(2);
    let good = vec![message(0, WireBody::Alarm(Box::new(alarm.clone()))), second];
    writer.send(batch(1, vec!["esl-1"], good.clone())).await.unwrap();
    assert!(matches!(reader.next().await.unwrap(), Some(Frame::BatchAck(ack)) if ack.refused.is_empty()));
    let commands: Vec<Command> = server.backend.commands.lock().drain(..).map(|(_, command, _)| command).collect();
    let carried = commands.into_iter().map(|command| match command {
        Command::Alarm { first, alarm, .. } => (first.get(), alarm.map(|alarm| *alarm)),
        other => panic!("{other:?}"),
    });
    assert_eq!(carried.collect::<Vec<_>>(), [(1, Some(alarm)), (2, None)]);
    let mut wrong = message(0, WireBody::Report(vec![]));
    wrong.first = Seq::new(3);
    writer.send(batch(2, vec![], vec![good[1].clone(), wrong])).await.unwrap();
    let refused = gateway.refused().await;
    assert!(refused.message.contains("class of its stream"), "{}", refused.message);
    assert!(server.backend.commands.lock().is_empty(), "nothing of a bad batch is submitted");
}

#[tokio::test]
async fn a_heartbeat_with_a_value_that_none_can_have_is_refused_by_name() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let health = Health { battery_percent: Some(200), ..Health::default() };
    let heartbeat = Heartbeat { number: 1, health, ..Heartbeat::default() };
    gateway.connection.send_datagram(encode_datagram(&heartbeat)).unwrap();
    let refused = gateway.refused().await;
    assert_eq!(refused.code, "bad-frame");
    assert!(refused.message.contains("battery_percent is 200"), "{refused:?}");
    assert!(server.backend.heartbeats.lock().is_empty());
}

#[tokio::test]
async fn a_malformed_heartbeat_is_refused() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    gateway.connection.send_datagram(vec![0xc1, 0x00].into()).unwrap();
    assert_eq!(gateway.refused().await.code, "bad-frame");
    server.refused_once(RefusalCode::BadFrame).await;
}
