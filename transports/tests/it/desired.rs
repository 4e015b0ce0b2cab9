//! Desired changes go down, each exactly merged, none lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twin_core::command::{Answer, Command};
use twin_core::numbers::Version;
use twin_core::refusal::Refusal;
use twin_transports::codec::Frame;
use twin_transports::frames::device::{Desired, DesiredReceived};

use crate::backend::{Answering, owner, until};
use crate::batches::twin;
use crate::control::attach;
use crate::gateway::Gateway;
use crate::server::TestServer;

async fn desired(gateway: &mut Gateway) -> Desired {
    match gateway.next().await {
        Frame::Desired(desired) => desired,
        other => panic!("not desired: {other:?}"),
    }
}

async fn attached(server: &TestServer, knows: u64) -> Gateway {
    let credentials = server.gateway("store-1", "gw-1");
    let (mut gateway, _) = Gateway::open(server, &credentials).await;
    gateway.writer.send(attach(1, 0..1, knows)).await.unwrap();
    assert!(matches!(gateway.next().await, Frame::AttachResults(_)));
    gateway
}

#[tokio::test]
async fn a_gateway_that_knows_less_gets_the_delta_after_its_attach() {
    let server = TestServer::start();
    server.backend.desired.lock().insert(twin(0), 5);
    let mut gateway = attached(&server, 3).await;
    let frame = desired(&mut gateway).await;
    assert_eq!((frame.twin, frame.owner), (twin(0), owner()));
    assert_eq!((frame.from.get(), frame.to.get(), frame.snapshot), (3, 5, false));
    gateway.quiet().await;
}

#[tokio::test]
async fn a_gateway_that_knows_all_gets_nothing() {
    let server = TestServer::start();
    server.backend.desired.lock().insert(twin(0), 5);
    let mut gateway = attached(&server, 5).await;
    gateway.quiet().await;
}

#[tokio::test]
async fn a_change_during_a_fetch_leads_to_another_one() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 0).await;
    *server.backend.answering.lock() = Answering::Held;
    server.backend.steer(&twin(0), 1);
    until("the fetch is under way", || server.backend.held() == 1).await;
    // The answer is already made (at version 1) when the twin changes again: here both happen while it is held.
    let commands = server.backend.commands.lock().len();
    server.backend.link().desired_changed(&twin(0));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(server.backend.commands.lock().len(), commands, "one fetch at a time");
    server.backend.release();
    assert_eq!(desired(&mut gateway).await.to.get(), 1);
    until("the second fetch is under way", || server.backend.held() == 1).await;
    server.backend.desired.lock().insert(twin(0), 2);
    server.backend.release();
    let second = desired(&mut gateway).await;
    assert_eq!((second.from.get(), second.to.get()), (1, 2));
}

#[tokio::test]
async fn under_a_storm_of_changes_the_gateway_ends_at_the_last_version_without_a_gap() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 0).await;
    let backend = server.backend.clone();
    let storm = std::thread::spawn(move || {
        for version in 1..=20_000 {
            backend.steer(&twin(0), version);
            if version % 64 == 0 {
                std::thread::yield_now();
            }
        }
    });
    let mut known = Version::new(0);
    while known.get() < 20_000 {
        let frame = desired(&mut gateway).await;
        assert_eq!(frame.from, known, "each delta begins where the last one ended");
        assert!(frame.to > known);
        known = frame.to;
    }
    storm.join().unwrap();
    gateway.quiet().await;
}

#[tokio::test]
async fn changes_of_twins_that_are_not_attached_here_are_not_fetched() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 0).await;
    let before = server.backend.commands.lock().len();
    server.backend.steer(&twin(7), 1);
    server.backend.link().detached(&twin(0));
    server.backend.steer(&twin(0), 1);
    gateway.quiet().await;
    assert_eq!(server.backend.commands.lock().len(), before);
}

#[tokio::test]
async fn delivered_is_told_to_the_twin_and_again_if_it_was_busy() {
    let server = TestServer::start();
    let mut gateway = attached(&server, 0).await;
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = tries.clone();
    server.backend.answer_with(move |_, command| {
        if matches!(command, Command::DesiredDelivered { .. }) && counted.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(Refusal::Busy { what: "mailbox".into(), retry_after_ms: 10 });
        }
        Ok(Answer::Done)
    });
    gateway.writer.send(DesiredReceived { items: vec![(twin(0), Version::new(4))] }).await.unwrap();
    until("it is told again", || tries.load(Ordering::Relaxed) == 2).await;
    let commands = server.backend.commands.lock().clone();
    let told: Vec<_> = commands
        .iter()
        .filter_map(|(_, command, _)| match command {
            Command::DesiredDelivered { gateway, version } => Some((gateway.name.as_str().to_owned(), version.get())),
            _ => None,
        })
        .collect();
    assert_eq!(told, [("gw-1".to_owned(), 4), ("gw-1".to_owned(), 4)]);
}

#[tokio::test]
async fn many_twins_are_fetched_with_bounded_concurrency_and_all_arrive() {
    let server = TestServer::start();
    let credentials = server.gateway("store-1", "gw-1");
    let (mut gateway, _) = Gateway::open(&server, &credentials).await;
    for request in 0..4 {
        let first = request as usize * 250;
        gateway.writer.send(attach(request, first..first + 250, 0)).await.unwrap();
        assert!(matches!(gateway.next().await, Frame::AttachResults(_)));
    }
    *server.backend.answering.lock() = Answering::Held;
    for index in 0..1000 {
        server.backend.steer(&twin(index), 1);
    }
    until("fetches are under way", || server.backend.held() == twin_transports::limits::DESIRED_IN_FLIGHT_MAX).await;
    *server.backend.answering.lock() = Answering::Now;
    server.backend.release();
    let mut seen = std::collections::HashSet::new();
    while seen.len() < 1000 {
        assert!(seen.insert(desired(&mut gateway).await.twin), "once each");
    }
}
