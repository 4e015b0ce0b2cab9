//! Batches up, acks down.

use std::time::Duration;

use tokio::time::timeout;
use twin_core::command::{Answer, Command, StateBody};
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OutboxId, Seq, Stay};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::codec::Frame;
use twin_transports::frames::batch::{BatchAck, StateBatch};
use twin_transports::frames::session::StreamClass;
use twin_transports::limits::BATCHES_IN_FLIGHT_MAX;

use crate::backend::{Answering, until};
use crate::batcher::{EventBatcher, StateBatcher};
use crate::gateway::{Gateway, next};
use crate::server::TestServer;

pub(crate) fn twin(index: usize) -> TwinId {
    TwinId::new(&format!("esl-{index}")).unwrap()
}

fn stay() -> Stay {
    Stay { boot: Boot::new(3), counter: 2 }
}

fn report(value: i64) -> StateBody {
    StateBody::Report(vec![Op::Set { path: Path::from_keys(["temperature"]), value: value.into() }])
}

fn batch_of(batcher: &mut StateBatcher, twins: std::ops::Range<usize>) -> StateBatch {
    for index in twins {
        batcher.push(&twin(index), stay(), Seq::new(1), Seq::new(1), &report(index as i64)).unwrap();
    }
    batcher.take(None).unwrap()
}

fn ack(frame: Frame) -> BatchAck {
    match frame {
        Frame::BatchAck(ack) => ack,
        other => panic!("not an ack: {other:?}"),
    }
}

#[tokio::test]
async fn a_batch_becomes_commands_in_order_and_one_ack_that_lists_refusals_only() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    server.backend.answer_with(|twin, _| match twin.as_str() {
        "esl-1" => Err(Refusal::Gap { next: Seq::new(7) }),
        "esl-2" => Ok(Answer::Duplicate),
        _ => Ok(Answer::Done),
    });
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    let mut batcher = StateBatcher::new();
    writer.send(batch_of(&mut batcher, 0..4)).await.unwrap();
    let first = ack(next(&mut reader).await);
    assert_eq!(first, BatchAck { batch: 1, refused: vec![(1, Refusal::Gap { next: Seq::new(7) })], credit: 0 });

    let commands = server.backend.commands.lock().clone();
    assert_eq!(commands.len(), 4);
    for (index, (sent_to, command, bytes)) in commands.iter().enumerate() {
        assert_eq!(*sent_to, twin(index));
        assert!(*bytes > 0);
        let Command::State { sender, first, last, body } = command else { panic!("{command:?}") };
        assert_eq!((&sender.gateway.site, &sender.gateway.name), (&credentials.site, &credentials.name));
        assert_eq!((sender.outbox, sender.stay), (OutboxId([1; 16]), stay()));
        assert_eq!((first.get(), last.get(), body), (1, 1, &report(index as i64)));
    }
    // The second batch refers to what the first one added.
    let second = batch_of(&mut batcher, 2..5);
    assert_eq!((second.twins.len(), second.paths.len()), (1, 0));
    writer.send(second).await.unwrap();
    assert_eq!(ack(next(&mut reader).await).batch, 2);
    assert_eq!(server.backend.commands.lock()[4].0, twin(2));
    assert_eq!(server.handle.stats().messages_refused.get(), 1);
    assert_eq!(server.handle.stats().messages.get(), 7);
}

#[tokio::test]
async fn events_go_the_same_way() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::Telemetry).await;
    let mut batcher = EventBatcher::new();
    batcher.push(&twin(1), Boot::new(4), Seq::new(9), "button", &Value::from(true)).unwrap();
    writer.send(batcher.take(None).unwrap()).await.unwrap();
    assert_eq!(ack(next(&mut reader).await), BatchAck { batch: 1, refused: vec![], credit: 0 });
    let commands = server.backend.commands.lock().clone();
    let [(_, Command::Event { boot, seq, name, payload, .. }, _)] = &commands[..] else { panic!("{commands:?}") };
    assert_eq!((boot.get(), seq.get(), name.as_str(), payload), (4, 9, "button", &Value::from(true)));
}

#[tokio::test]
async fn no_ack_before_every_message_is_answered() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    *server.backend.answering.lock() = Answering::Held;
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.send(batch_of(&mut StateBatcher::new(), 0..3)).await.unwrap();
    until("the batch is submitted", || server.backend.held() == 3).await;
    assert!(timeout(Duration::from_millis(100), reader.next()).await.is_err());
    server.backend.release();
    assert_eq!(ack(next(&mut reader).await).batch, 1);
}

#[tokio::test]
async fn a_reply_dropped_by_a_dying_grain_is_a_retryable_refusal() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    *server.backend.answering.lock() = Answering::Held;
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.send(batch_of(&mut StateBatcher::new(), 0..2)).await.unwrap();
    until("the batch is submitted", || server.backend.held() == 2).await;
    server.backend.drop_held();
    let ack = ack(next(&mut reader).await);
    assert_eq!(ack.refused.len(), 2);
    assert!(ack.refused.iter().all(|(_, refusal)| refusal.retry_after().is_some()));
}

#[tokio::test]
async fn a_stream_stops_being_read_while_eight_batches_are_open() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    *server.backend.answering.lock() = Answering::Held;
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    // 80 batches of 100 messages of 300 bytes: far more than QUIC's window holds.
    let sending = tokio::spawn(async move {
        let mut batcher = StateBatcher::new();
        let text = "x".repeat(300);
        for _ in 0..80 {
            for index in 0..100 {
                let ops = vec![Op::Set { path: Path::from_keys(["text"]), value: text.as_str().into() }];
                batcher.push(&twin(index), stay(), Seq::new(1), Seq::new(1), &StateBody::Report(ops)).unwrap();
            }
            writer.send(batcher.take(None).unwrap()).await.unwrap();
        }
        writer
    });
    until("eight batches are open", || server.backend.held() == BATCHES_IN_FLIGHT_MAX * 100).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.backend.held(), BATCHES_IN_FLIGHT_MAX * 100, "no ninth batch is taken");
    assert!(!sending.is_finished(), "the gateway is held back");
    // Other streams are not.
    let (mut events, mut event_writer) = gateway.stream(StreamClass::Telemetry).await;
    *server.backend.answering.lock() = Answering::Now;
    let mut batcher = EventBatcher::new();
    batcher.push(&twin(1), Boot::new(1), Seq::new(1), "alarm", &Value::Null).unwrap();
    event_writer.send(batcher.take(None).unwrap()).await.unwrap();
    assert_eq!(ack(next(&mut events).await).batch, 1);
    server.backend.release();
    let mut acked = Vec::new();
    for _ in 0..80 {
        acked.push(ack(next(&mut reader).await).batch);
    }
    acked.sort_unstable();
    assert_eq!(acked, (1..=80).collect::<Vec<u64>>());
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn what_is_in_flight_when_the_gateway_finishes_its_stream_is_still_acked() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    *server.backend.answering.lock() = Answering::Held;
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.send(batch_of(&mut StateBatcher::new(), 0..1)).await.unwrap();
    writer.get_mut().finish().unwrap();
    until("the batch is submitted", || server.backend.held() == 1).await;
    server.backend.release();
    assert_eq!(ack(next(&mut reader).await).batch, 1);
    assert!(timeout(crate::server::WAIT, reader.next()).await.unwrap().unwrap().is_none(), "and then it ends");
}

#[tokio::test]
async fn an_ack_full_of_long_refusals_still_fits_a_frame() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    server.backend.answer_with(|_, _| {
        Err(Refusal::Rule(twin_core::refusal::RuleViolation {
            code: "key".into(),
            pointer: "/long".repeat(2000),
            message: "long".repeat(5000),
            limit: None,
        }))
    });
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    writer.send(batch_of(&mut StateBatcher::new(), 0..256)).await.unwrap();
    assert_eq!(ack(next(&mut reader).await).refused.len(), 256);
}

#[tokio::test]
async fn a_sampled_batch_hands_its_trace_context_on() {
    static SEEN: parking_lot::Mutex<Vec<String>> = parking_lot::Mutex::new(Vec::new());
    let server =
        TestServer::start_with(|options| options.on_traceparent = Some(|_, text| SEEN.lock().push(text.to_owned())));
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let (mut reader, mut writer) = gateway.stream(StreamClass::State).await;
    let mut batch = batch_of(&mut StateBatcher::new(), 0..1);
    batch.trace = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    writer.send(batch.clone()).await.unwrap();
    assert_eq!(ack(next(&mut reader).await).batch, 1);
    assert_eq!(*SEEN.lock(), [batch.trace.unwrap()]);
}
