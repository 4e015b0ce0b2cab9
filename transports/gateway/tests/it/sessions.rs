//! Reports through a real session: acks, reconnects, restarts.

use std::time::Duration;

use serde_json::json;
use twin_core::command::{Answer, Command};
use twin_core::json::to_compact;
use twin_gateway::{Gateway, GetError, Options, Report, TwinLink};

use crate::node::{Node, World, eventually, id, within};

#[tokio::test]
async fn a_report_is_acked_and_stands_in_the_twin() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let label = id("label-1");
    let receipt = gateway.report(&label, &json!({"price": 1.5, "unit": {"name": "kg"}})).await.unwrap();
    within("the ack", receipt.acked()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"price":1.5,"unit":{"name":"kg"}}"#);
    assert!(matches!(gateway.link(&label), TwinLink::Attached(_)));
    assert_eq!(gateway.status().backlog_messages, 0);
    let view = within("the reading", gateway.get(&label)).await.unwrap();
    assert_eq!(to_compact(&view.reported().unwrap()), r#"{"price":1.5,"unit":{"name":"kg"}}"#);
    eventually("a heartbeat", || node.world.heartbeat().is_some_and(|heartbeat| heartbeat.devices == 1)).await;
    assert!(within("the shutdown", gateway.shutdown()).await);
}

#[tokio::test]
async fn what_was_reported_without_a_node_is_sent_when_there_is_one() {
    let world = World::new(true);
    let stopped = {
        let node = Node::start(world.clone());
        let dir = tempfile::tempdir().unwrap();
        let options = node.options("g1", dir.path());
        let stopped = node.stop().await;
        (stopped, dir, options)
    };
    let (stopped, _dir, options) = stopped;
    let gateway = Gateway::open(options).unwrap();
    let label = id("label-1");
    for n in 1..=20 {
        gateway.report(&label, &json!({ "n": n })).await.unwrap();
    }
    assert_eq!(gateway.status().backlog_messages, 20);
    assert_eq!(gateway.get(&label).await, Err(GetError::NotConnected));
    let node = stopped.start().await;
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"n":20}"#);
    assert_eq!(node.world.reported_version(&label), 21, "each report took effect once");
}

#[tokio::test]
async fn cuts_in_the_middle_lose_nothing_and_repeat_nothing() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let twins: Vec<_> = (0..5).map(|n| id(&format!("d{n}"))).collect();
    for round in 1..=40 {
        let reports = twins.iter().map(|twin| {
            let patch: twin_core::value::Value = serde_json::from_value(json!({ "round": round })).unwrap();
            Report::new(twin.clone(), patch)
        });
        gateway.report_many(reports.collect()).await.unwrap();
        if round % 10 == 0 {
            node.world.cut("g1");
            eventually("the cut", || gateway.status().counters.sessions >= round / 10).await;
        }
    }
    within("all acks", gateway.drained()).await.unwrap();
    for twin in &twins {
        assert_eq!(node.world.reported(twin), r#"{"round":40}"#);
        assert_eq!(node.world.reported_version(twin), 41);
    }
    assert!(gateway.dead_letters().is_empty());
}

#[tokio::test]
async fn a_restarted_gateway_sends_the_older_stay_first_and_then_its_own() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let label = id("label-1");
    let gateway = node.gateway("g1", dir.path());
    within("the ack", gateway.report(&label, &json!({"n": 1})).await.unwrap().acked()).await.unwrap();
    // The node takes nothing more for now.
    node.world.refuse(|_, command| {
        matches!(command, Command::State { .. })
            .then(|| twin_core::refusal::Refusal::Busy { what: "test".into(), retry_after_ms: 60_000 })
    });
    gateway.report(&label, &json!({"n": 2})).await.unwrap();
    gateway.report(&label, &json!({"n": 3})).await.unwrap();
    drop(gateway);
    node.world.refuse(|_, _| None);
    let gateway = reopened(node.options("g1", dir.path())).await;
    assert_eq!(gateway.status().boot.get(), 2);
    let receipt = gateway.report(&label, &json!({"n": 4})).await.unwrap();
    within("the ack", receipt.acked()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"n":4}"#);
    assert_eq!(node.world.reported_version(&label), 5);
    let attachments = node.world.log(|done| match &done.answer {
        Ok(Answer::Attached { attachment, .. }) => Some(attachment.get()),
        _ => None,
    });
    assert_eq!(attachments, [1, 1, 2], "the older stay is taken up again, then the new one follows");
}

#[tokio::test]
async fn events_need_no_attach_and_keep_their_order() {
    let node = Node::start(World::new(true));
    node.world.put(&id("door"), "{}");
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    for n in 1..=10 {
        gateway.event(&id("door"), "opened", &json!(n)).await.unwrap();
    }
    within("all acks", gateway.drained()).await.unwrap();
    let payloads = node.world.log(|done| match (&done.command, &done.answer) {
        (Command::Event { payload, .. }, Ok(Answer::Done)) => Some(twin_core::json::to_compact(payload)),
        _ => None,
    });
    assert_eq!(payloads, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    assert_eq!(gateway.link(&id("door")), TwinLink::NotServed);
}

#[tokio::test]
async fn a_wrong_secret_is_told_and_tried_again_slowly() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let mut options = node.options("g1", dir.path());
    options.credentials.product_key = "other".into();
    let gateway = Gateway::open(options).unwrap();
    eventually("the refusal", || gateway.status().refusal.is_some_and(|(code, _)| code == "bad-credential")).await;
    assert!(!gateway.status().connected);
    assert!(
        !within("the shutdown", async {
            gateway.report(&id("d"), &json!({"a": 1})).await.unwrap();
            gateway.shutdown().await
        })
        .await
    );
}

#[tokio::test]
async fn a_gateway_that_stops_says_how_it_leaves() {
    // The first heartbeat comes with the session, the next one long after this test.
    let node = Node::start_asking(World::new(true), Duration::from_secs(60));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    eventually("the first heartbeat", || node.world.heartbeat().is_some()).await;
    within("the ack", gateway.report(&id("label-1"), &json!({"n": 1})).await.unwrap().acked()).await.unwrap();
    let before = node.world.heartbeat().unwrap();
    assert!(within("the shutdown", gateway.shutdown()).await);
    eventually("the last heartbeat", || node.world.heartbeat().is_some_and(|last| last.number > before.number)).await;
    let last = node.world.heartbeat().unwrap();
    assert_eq!((last.devices, last.backlog_messages, last.backlog_bytes), (1, 0, 0));
}

#[tokio::test]
async fn a_node_that_is_not_trusted_is_told() {
    let (node, other) = (Node::start(World::new(true)), Node::start(World::new(true)));
    let dir = tempfile::tempdir().unwrap();
    let mut options = node.options("g1", dir.path());
    options.credentials.ca = other.credentials("g1").ca;
    let gateway = Gateway::open(options).unwrap();
    eventually("the reason", || {
        gateway.status().failure.is_some_and(|why| why.contains("the CA in the credentials is not that of the node"))
    })
    .await;
    let status = gateway.status();
    assert_eq!((status.connected, status.refusal), (false, None), "{:?}", status.failure);
}

/// Opens it once the one before has let go of the file.
pub async fn reopened(options: Options) -> Gateway {
    let mut opened = None;
    eventually("the outbox is free", || {
        opened = Gateway::open(options.clone()).ok();
        opened.is_some()
    })
    .await;
    opened.unwrap()
}
