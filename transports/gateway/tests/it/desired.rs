//! The way down: desired changes and method calls.

use serde_json::json;
use twin_core::json::to_compact;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_gateway::MethodAnswer;
use twin_transports::frames::device::CallOutcome;

use crate::node::{Node, World, eventually, id, within};

#[tokio::test]
async fn a_desired_change_comes_down_and_its_ack_goes_up() {
    let node = Node::start(World::new(false));
    let label = id("label-1");
    node.world.put(&label, r#"{"price": 2}"#);
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    gateway.attach(&label).unwrap();
    let desired = gateway.desired();
    let change = within("the snapshot", desired.recv()).await.unwrap();
    assert!(change.snapshot);
    assert_eq!(to_compact(&change.desired), r#"{"price":2}"#);
    eventually("delivered", || node.world.convergence(&label).contains("delivered")).await;

    node.world.patch_desired(&label, r#"{"price": 3, "led": true}"#);
    let change = within("the delta", desired.recv()).await.unwrap();
    assert!(!change.snapshot);
    assert_eq!(change.ops.len(), 2);
    assert_eq!(to_compact(&change.desired), r#"{"led":true,"price":3}"#);
    let path = Path::from_keys(["led"]);
    within("the rejection", gateway.reject_desired(&label, &path, change.version, "no led").await.unwrap().acked())
        .await
        .unwrap();
    within("the report", gateway.report(&label, &json!({"price": 3})).await.unwrap().acked()).await.unwrap();
    let convergence = node.world.convergence(&label);
    assert!(convergence.contains("no led") && convergence.contains("applied"), "{convergence}");
}

#[tokio::test]
async fn what_was_missed_while_away_comes_as_one_delta() {
    let node = Node::start(World::new(false));
    let label = id("label-1");
    node.world.put(&label, r#"{"price": 1, "old": true}"#);
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    gateway.attach(&label).unwrap();
    let desired = gateway.desired();
    within("the snapshot", desired.recv()).await.unwrap();
    let stopped = node.stop().await;
    eventually("the cut", || !gateway.status().connected).await;
    let node = stopped.start().await;
    node.world.patch_desired(&label, r#"{"price": 2}"#);
    node.world.patch_desired(&label, r#"{"price": 3, "old": null}"#);
    let mut last = within("the delta", desired.recv()).await.unwrap();
    assert!(!last.snapshot, "what is known is not sent again");
    if to_compact(&last.desired) != r#"{"price":3}"# {
        last = within("the rest", desired.recv()).await.unwrap();
    }
    assert_eq!(to_compact(&last.desired), r#"{"price":3}"#);
}

#[tokio::test]
async fn a_method_is_answered_once_however_often_the_call_comes() {
    let node = Node::start(World::new(true));
    let label = id("label-1");
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    gateway.on_method("blink", |call| async move { MethodAnswer::new(200, call.payload) });
    gateway.attach(&label).unwrap();
    eventually("attached", || gateway.status().attached == 1).await;
    assert!(node.world.call("g1", 7, &label, "blink"));
    assert!(node.world.call("g1", 7, &label, "blink"));
    assert!(node.world.call("g1", 8, &label, "sing"));
    assert!(node.world.call("g1", 9, &id("stranger"), "blink"));
    eventually("three answers", || node.world.call_results().len() >= 3).await;
    let results = node.world.call_results();
    let outcome = |call| results.iter().filter(|r| r.call.get() == call).map(|r| r.outcome.clone()).collect::<Vec<_>>();
    assert_eq!(outcome(7), [CallOutcome::Answered { status: 200, payload: Value::from("please") }]);
    assert_eq!(outcome(8), [CallOutcome::NoSuchMethod]);
    assert_eq!(outcome(9), [CallOutcome::NotHere]);
}

#[tokio::test]
async fn many_changes_are_taken_and_acked_at_once() {
    let node = Node::start(World::new(true));
    let labels: Vec<_> = (0..600).map(|number| id(&format!("label-{number}"))).collect();
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    for label in &labels {
        gateway.attach(label).unwrap();
    }
    let desired = gateway.desired();
    // The first word after an attach.
    let mut first = 0;
    while first < labels.len() {
        first += within("the snapshots", desired.recv_many(1_000)).await.len();
    }
    for label in &labels {
        node.world.patch_desired(label, r#"{"price": 3}"#);
    }
    let mut changed = std::collections::HashSet::new();
    while changed.len() < labels.len() {
        let changes = within("the changes", desired.recv_many(100)).await;
        assert!((1..=100).contains(&changes.len()));
        assert!(changes.iter().all(|change| changed.insert(change.twin.clone())));
        let applied = changes.iter().map(|change| (change.twin.clone(), change.version));
        let receipts = gateway.ack_desired_all(applied).await.unwrap();
        assert_eq!(receipts.len(), changes.len());
        within("the acks", receipts.acked()).await.unwrap();
        for change in &changes {
            assert!(node.world.convergence(&change.twin).contains("applied"));
        }
    }
    gateway.shutdown().await;
    assert!(desired.recv_many(10).await.is_empty());
}
