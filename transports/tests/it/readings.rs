//! Readings of twins over their own stream.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use twin_core::command::{Answer, Command, Precondition};
use twin_core::ids::{SiteId, TwinId};
use twin_core::numbers::WallTime;
use twin_core::refusal::Refusal;
use twin_core::twin::{StepContext, Twin};
use twin_core::value::{Members, Value};
use twin_core::view::{Audience, TwinView};
use twin_transports::codec::Frame;
use twin_transports::frames::readings::{Get, Views};
use twin_transports::frames::session::StreamClass;
use twin_transports::limits::{READ_BYTES_MAX, READ_TWINS_MAX, READS_IN_FLIGHT_MAX};

use crate::backend::{Answering, until};
use crate::batches::twin;
use crate::gateway::{Gateway, Stream, next};
use crate::server::TestServer;

/// A server whose twins are of `store-1`, but for `esl-2`.
fn server() -> TestServer {
    let server = TestServer::start();
    server.backend.answer_with(|twin, command| {
        let site = SiteId::new(if twin.as_str() == "esl-2" { "store-2" } else { "store-1" }).unwrap();
        let put = Command::Put {
            site: Some(site),
            tags: Value::Object(Members::from([("secret".into(), "of the back office".into())])),
            desired: Value::Object(Members::from([("name".into(), twin.as_str().into())])),
            precondition: Precondition::None,
        };
        let mut twin = Twin::absent(twin.clone());
        let context =
            StepContext { now: WallTime::new(1), floor: twin_core::numbers::Floor::default(), observed: false };
        twin.step(put, context).answer.unwrap();
        twin.step(command.clone(), context).answer
    });
    server
}

async fn stream(gateway: &Gateway) -> Stream {
    gateway.stream(StreamClass::Readings).await
}

fn get(request: u64, twins: std::ops::Range<usize>) -> Get {
    Get { request, twins: twins.map(twin).collect() }
}

async fn views(stream: &mut Stream) -> Views {
    match next(&mut stream.0).await {
        Frame::Views(views) => views,
        other => panic!("not views: {other:?}"),
    }
}

fn name(view: &Result<Bytes, Refusal>) -> String {
    let desired = TwinView::new(view.clone().unwrap()).desired().unwrap();
    desired.as_object().unwrap()["name"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gateway_reads_twins_of_its_own_site_only_and_each_refusal_stands_alone() {
    let server = server();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let mut stream = stream(&gateway).await;
    stream.1.send(get(7, 1..4)).await.unwrap();
    let answer = views(&mut stream).await;
    assert_eq!((answer.request, answer.first, answer.results.len()), (7, 0, 3));
    assert_eq!((name(&answer.results[0]), name(&answer.results[2])), ("esl-1".into(), "esl-3".into()));
    assert_eq!(answer.results[1], Err(Refusal::NotFound { twin: "esl-2".into() }));
    let whole = format!("{:?}", answer.results);
    assert!(!whole.contains("of the back office"), "tags are not shown to gateways");
    let commands = server.backend.commands.lock().clone();
    let site = Audience::Site(SiteId::new("store-1").unwrap());
    assert!(commands.iter().all(|(_, command, _)| *command == Command::View { audience: site.clone() }));
    // A request of nothing is answered, too.
    stream.1.send(get(8, 0..0)).await.unwrap();
    assert_eq!(views(&mut stream).await, Views { request: 8, first: 0, results: vec![] });
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_request_whenever_the_twins_answer() {
    let server = server();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let mut stream = stream(&gateway).await;
    *server.backend.answering.lock() = Answering::Held;
    stream.1.send(get(1, 10..13)).await.unwrap();
    until("the readings are under way", || server.backend.held() == 3).await;
    server.backend.release();
    let answer = views(&mut stream).await;
    assert_eq!(answer.results.iter().map(name).collect::<Vec<_>>(), ["esl-10", "esl-11", "esl-12"]);
    // A grain that dies answers as well.
    stream.1.send(get(2, 10..12)).await.unwrap();
    until("the readings are under way", || server.backend.held() == 2).await;
    server.backend.drop_held();
    let answer = views(&mut stream).await;
    assert!(answer.results.iter().all(|result| matches!(result, Err(Refusal::Unavailable { .. }))));
}

#[tokio::test]
async fn beyond_the_requests_in_flight_the_stream_is_not_read() {
    let server = server();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let mut stream = stream(&gateway).await;
    *server.backend.answering.lock() = Answering::Held;
    for request in 0..READS_IN_FLIGHT_MAX + 3 {
        stream.1.send(get(request as u64, 10..11)).await.unwrap();
    }
    until("as many as may be are under way", || server.backend.held() == READS_IN_FLIGHT_MAX).await;
    server.backend.release();
    until("the others follow", || server.backend.held() == 3).await;
    server.backend.release();
    for request in 0..READS_IN_FLIGHT_MAX + 3 {
        assert_eq!(views(&mut stream).await.request, request as u64);
    }
}

/// Answers every reading with so many bytes.
fn answer_bytes(server: &TestServer, length: usize) -> Arc<Mutex<Vec<TwinId>>> {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = asked.clone();
    server.backend.answer_with(move |twin, _| {
        noted.lock().push(twin.clone());
        Ok(Answer::View { view: TwinView::new(vec![7; length].into()), last_activity: WallTime::new(0) })
    });
    asked
}

#[tokio::test]
async fn a_large_answer_comes_in_several_frames_and_what_is_too_much_is_to_be_asked_again() {
    let server = server();
    let credentials = server.gateway("store-1", "gw-1");
    let (gateway, _) = Gateway::open(&server, &credentials).await;
    let mut stream = stream(&gateway).await;
    let length = 100_000;
    let asked = answer_bytes(&server, length);
    stream.1.send(get(1, 0..READ_TWINS_MAX)).await.unwrap();
    let (mut results, mut frames) = (Vec::new(), 0);
    while results.len() < READ_TWINS_MAX {
        let answer = views(&mut stream).await;
        assert_eq!((answer.request, answer.first as usize), (1, results.len()));
        results.extend(answer.results);
        frames += 1;
    }
    assert!(frames > 5, "{frames}");
    let fit = READ_BYTES_MAX / length;
    assert_eq!(asked.lock().len(), READ_TWINS_MAX);
    assert!(results[..fit].iter().all(|result| result.as_ref().is_ok_and(|view| view.len() == length)));
    assert!(results[fit..].iter().all(|result| matches!(result, Err(Refusal::Busy { .. }))));
    // One always gets through, however large.
    answer_bytes(&server, READ_BYTES_MAX - 100);
    stream.1.send(get(2, 0..2)).await.unwrap();
    let first = views(&mut stream).await;
    assert_eq!(first.results.len(), 1);
    assert!(first.results[0].is_ok());
    assert!(matches!(views(&mut stream).await.results[..], [Err(Refusal::Busy { .. })]));
}

#[tokio::test]
async fn what_does_not_belong_on_the_stream_ends_the_session() {
    for (wrong, what) in [
        (Frame::from(get(1, 0..READ_TWINS_MAX)), None),
        (crate::control::attach(1, 0..1, 0).into(), Some("does not belong on a stream of readings")),
        (Views { request: 1, first: 0, results: vec![] }.into(), Some("does not belong")),
    ] {
        let server = server();
        let credentials = server.gateway("store-1", "gw-1");
        let (gateway, _) = Gateway::open(&server, &credentials).await;
        let mut stream = stream(&gateway).await;
        stream.1.send(wrong).await.unwrap();
        match what {
            None => assert!(!views(&mut stream).await.results.is_empty()),
            Some(what) => {
                let refused = gateway.refused().await;
                assert_eq!(refused.code, "bad-frame");
                assert!(refused.message.contains(what), "{}", refused.message);
            }
        }
    }
}
