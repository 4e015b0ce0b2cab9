//! Attach, detach, calls and heartbeats.

use twin_core::command::{Answer, Command};
use twin_core::numbers::{AttachmentNo, Boot, CallNo, Stay, Version};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::codec::{Frame, encode_datagram};
use twin_transports::frames::device::{Attach, AttachItem, Call, CallOutcome, CallResult, Detach};
use twin_transports::frames::session::Heartbeat;
use twin_transports::limits::CALLS_QUEUED_MAX;

use crate::backend::{owner, until};
use crate::batches::twin;
use crate::gateway::Gateway;
use crate::server::TestServer;

pub(crate) fn attach(request: u64, twins: std::ops::Range<usize>, knows: u64) -> Attach {
    let stay = Stay { boot: Boot::new(1), counter: 1 };
    let items = twins
        .map(|index| AttachItem { twin: twin(index), stay, saw: AttachmentNo::new(0), knows: Version::new(knows) })
        .collect();
    Attach { request, items, urgent: false }
}

#[tokio::test]
async fn attach_results_come_in_the_order_of_the_items() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    server.backend.answer_with(|twin, _| match twin.as_str() {
        "esl-1" => Err(Refusal::Conflict { last: AttachmentNo::new(9) }),
        _ => Ok(Answer::Done),
    });
    let (mut gateway, _) = Gateway::open(&server, &credentials).await;
    gateway.writer.send(attach(5, 0..3, 0)).await.unwrap();
    let Frame::AttachResults(results) = gateway.next().await else { panic!("not attach results") };
    assert_eq!(results.request, 5);
    let one = AttachmentNo::new(1);
    assert_eq!(results.results, [Ok(one), Err(Refusal::Conflict { last: AttachmentNo::new(9) }), Ok(one)]);
    let commands = server.backend.commands.lock().clone();
    assert!(matches!(&commands[0].1, Command::Attach { may_create: true, .. }));
    let stay = Stay { boot: Boot::new(1), counter: 1 };
    gateway.writer.send(Detach { request: 6, items: vec![(twin(0), stay), (twin(1), stay)] }).await.unwrap();
    let Frame::DetachResults(results) = gateway.next().await else { panic!("not detach results") };
    assert_eq!(results.results, [Ok(()), Err(Refusal::Conflict { last: AttachmentNo::new(9) })]);
}

#[tokio::test]
async fn a_call_goes_down_and_its_result_comes_back() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (mut gateway, _) = Gateway::open(&server, &credentials).await;
    let call = Call {
        twin: twin(1),
        owner: owner(),
        call: CallNo::new(4),
        method: "blink".into(),
        payload: Value::from(3),
        timeout_ms: 1000,
    };
    assert!(server.backend.link().call(call.clone()));
    assert_eq!(gateway.next().await, Frame::Call(call));
    let result = CallResult {
        twin: twin(1),
        call: CallNo::new(4),
        outcome: CallOutcome::Answered { status: 200, payload: Value::Null },
    };
    gateway.writer.send(result.clone()).await.unwrap();
    until("the result arrives", || server.backend.call_results.lock().as_slice() == std::slice::from_ref(&result))
        .await;
}

#[tokio::test]
async fn a_call_into_a_full_queue_or_an_ended_session_is_not_sent() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let call = Call {
        twin: twin(1),
        owner: owner(),
        call: CallNo::new(1),
        method: "blink".into(),
        // The gateway does not read: QUIC's window fills, then the queue.
        payload: Value::from("x".repeat(30_000).as_str()),
        timeout_ms: 1000,
    };
    let link = server.backend.link();
    let mut taken = 0;
    until("the queue is full", || {
        let full = !link.call(call.clone());
        taken += usize::from(!full);
        full
    })
    .await;
    assert!((CALLS_QUEUED_MAX..4 * CALLS_QUEUED_MAX).contains(&taken), "{taken}");
    gateway.connection.close(0_u32.into(), b"");
    until("the session ends", || !server.backend.closed.lock().is_empty()).await;
    assert!(!link.call(call));
}

#[tokio::test]
async fn heartbeats_arrive_and_late_ones_are_ignored() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    for number in [1, 3] {
        let heartbeat = Heartbeat { number, devices: 10 + number, ..Heartbeat::default() };
        gateway.connection.send_datagram(encode_datagram(&heartbeat)).unwrap();
        until("the heartbeat arrives", || {
            server.backend.heartbeats.lock().last().is_some_and(|last| last.number == number)
        })
        .await;
    }
    for number in [2, 4] {
        let heartbeat = Heartbeat { number, ..Heartbeat::default() };
        gateway.connection.send_datagram(encode_datagram(&heartbeat)).unwrap();
    }
    until("the next one arrives", || server.backend.heartbeats.lock().last().is_some_and(|last| last.number == 4))
        .await;
    let numbers: Vec<u64> = server.backend.heartbeats.lock().iter().map(|heartbeat| heartbeat.number).collect();
    assert_eq!(numbers, [1, 3, 4]);
}

#[tokio::test]
async fn a_gateway_that_finishes_its_control_stream_says_goodbye() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (mut gateway, welcome) = Gateway::open(&server, &credentials).await;
    gateway.writer.get_mut().finish().unwrap();
    until("the session is closed", || *server.backend.closed.lock() == [welcome.session]).await;
    assert_eq!(server.handle.stats().refusals().map(|(_, count)| count).sum::<u64>(), 0);
}
