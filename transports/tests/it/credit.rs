//! Credit, over real streams.

use std::sync::atomic::Ordering;

use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};
use twin_transports::codec::Frame;
use twin_transports::frames::batch::{BatchAck, StateBatch, StateMessage, WireBody};
use twin_transports::frames::session::{StreamClass, Welcome};
use twin_transports::limits::{CREDIT_WINDOW_BYTES_MIN, MESSAGE_CREDIT_BYTES};

use crate::gateway::{Gateway, hello, next};
use crate::server::TestServer;

const FULL: u64 = 1000;

async fn open(server: &TestServer) -> (Gateway, Welcome) {
    let credentials = server.gateway("store-1", "gw-1");
    let mut gateway = Gateway::connect(server, &credentials).await;
    let hello = twin_transports::frames::session::Hello { credit: true, ..hello(&credentials) };
    match gateway.handshake(&credentials, &hello).await {
        Frame::Welcome(welcome) => (gateway, welcome),
        other => panic!("not welcome: {other:?}"),
    }
}

/// One small message in a batch.
fn batch(number: u64) -> StateBatch {
    let message =
        StateMessage { twin: 0, stay: Stay::default(), first: Seq::new(number), more: 0, body: WireBody::Lost };
    let twins = if number == 1 { vec![TwinId::new("esl-1").unwrap()] } else { vec![] };
    StateBatch { batch: number, reset: false, twins, paths: vec![], messages: vec![message], trace: None }
}

fn ack(frame: Frame) -> BatchAck {
    match frame {
        Frame::BatchAck(ack) => ack,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_ack_says_how_far_the_stream_may_go_and_that_only_rises() {
    let server = TestServer::start();
    let (gateway, welcome) = open(&server).await;
    let first = welcome.credit.expect("credit was asked for");
    assert_eq!((first.state, first.telemetry), (512 * 1024, 512 * 1024), "half of the budget");
    assert_eq!(first.alarms, 32 * 1024, "half of the alarms' share");
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    let mut before = first.state;
    for number in 1..10 {
        writer.send(batch(number)).await.unwrap();
        let total = ack(next(&mut reader).await).credit;
        assert!(
            total > before + MESSAGE_CREDIT_BYTES && total < before + MESSAGE_CREDIT_BYTES + 64,
            "{before} {total}"
        );
        before = total;
    }
    assert_eq!(
        server.handle.stats().credit_frames.get() + server.handle.stats().credit_withheld.get(),
        0,
        "acks say it all"
    );
}

#[tokio::test]
async fn a_gateway_that_knows_no_credit_goes_on_without() {
    let server = TestServer::start();
    server.backend.fill_permille.store(FULL, Ordering::Relaxed);
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, welcome) = Gateway::open(&server, &credentials).await;
    assert_eq!(welcome.credit, None);
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    for number in 1..5 {
        writer.send(batch(number)).await.unwrap();
        assert_eq!(ack(next(&mut reader).await).credit, 0);
    }
}

#[tokio::test]
async fn a_full_node_grants_one_batch_and_more_once_it_has_room() {
    let server = TestServer::start();
    server.backend.fill_permille.store(FULL, Ordering::Relaxed);
    let (gateway, welcome) = open(&server).await;
    assert_eq!(welcome.credit.map(|first| first.state), Some(1), "a session always has something");
    // Alarms have a share of their own.
    let (mut alarms, mut alarm_writer) = gateway.stream(StreamClass::Alarms).await;
    alarm_writer.send(batch(1)).await.unwrap();
    assert!(ack(next(&mut alarms).await).credit > 32 * 1024);
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.send(batch(1)).await.unwrap();
    let used = ack(next(&mut reader).await).credit;
    assert!(used < MESSAGE_CREDIT_BYTES + 64, "{used}: no more than what was used");
    assert_eq!(server.handle.stats().credit_withheld.get(), 1);
    // Nearly full, and no answer is due that could say so.
    server.backend.fill_permille.store(949, Ordering::Relaxed);
    match next(&mut reader).await {
        Frame::Credit(credit) => assert!(credit.total > CREDIT_WINDOW_BYTES_MIN, "{credit:?}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(server.handle.stats().credit_frames.get(), 1);
    writer.send(batch(2)).await.unwrap();
    assert!(ack(next(&mut reader).await).credit > 1);
}

#[tokio::test]
async fn a_node_that_stays_full_lets_a_stream_ask_now_and_then() {
    let server = TestServer::start();
    server.backend.fill_permille.store(FULL, Ordering::Relaxed);
    let (gateway, _) = open(&server).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    for number in 1..4 {
        writer.send(batch(number)).await.unwrap();
        let total = ack(next(&mut reader).await).credit;
        match next(&mut reader).await {
            Frame::Credit(credit) => assert!(credit.total > total),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_gateway_that_ignores_its_credit_is_refused_by_name() {
    let server = TestServer::start();
    server.backend.fill_permille.store(FULL, Ordering::Relaxed);
    let (gateway, _) = open(&server).await;
    let (_reader, mut writer) = gateway.stream(StreamClass::State).await;
    // However quickly the first is answered: that grants nothing.
    writer.send(batch(1)).await.unwrap();
    writer.send(batch(2)).await.unwrap();
    let refused = gateway.refused().await;
    assert_eq!(refused.code, "credit-exceeded");
    assert!(refused.message.contains("the stream has credit up to"), "{}", refused.message);
    assert_eq!(server.backend.commands.lock().len(), 1, "nothing of it is submitted");
}
