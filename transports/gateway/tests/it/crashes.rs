//! Kill -9 of the gateway: a copy of its file at any moment is what it finds when it starts again.

use std::path::Path;

use serde_json::json;
use twin_gateway::{Gateway, OUTBOX_FILE, Options, Report};

use crate::node::{Node, World, eventually, id, within};

/// What a crash at this moment leaves: the bytes of the file, without a clean close.
fn crash(from: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(from.join(OUTBOX_FILE), dir.path().join(OUTBOX_FILE)).unwrap();
    dir
}

#[tokio::test]
async fn what_was_promised_is_there_after_a_crash() {
    let world = World::new(true);
    let node = Node::start(world);
    let dir = tempfile::tempdir().unwrap();
    let offline = Options { node: "127.0.0.1:9".into(), ..node.options("g1", dir.path()) };
    let gateway = Gateway::open(offline).unwrap();
    let label = id("label-1");
    for n in 1..=50 {
        gateway.report(&label, &json!({ "n": n })).await.unwrap();
    }
    let crashed = crash(dir.path());
    let gateway = Gateway::open(node.options("g1", crashed.path())).unwrap();
    assert_eq!(gateway.status().backlog_messages, 50);
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported_version(&label), 51);
}

#[tokio::test]
async fn what_was_promised_while_connected_is_with_the_node_or_in_the_file() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let labels: Vec<_> = (0..8).map(|n| id(&format!("label-{n}"))).collect();
    let mut state_dir = dir.path().to_owned();
    let mut kept = Vec::new();
    let (rounds, reports) = (5, 60);
    for round in 0..rounds {
        // The one that crashed says no more: not what it still holds, either.
        let drain_timeout = std::time::Duration::ZERO;
        let options = Options { coalesce: false, drain_timeout, ..node.options("g1", &state_dir) };
        let gateway = Gateway::open(options).unwrap();
        eventually("the session", || gateway.status().connected).await;
        for n in 1..=reports {
            for label in &labels {
                gateway.report(label, &json!({ "n": round * reports + n })).await.unwrap();
            }
        }
        let crashed = crash(&state_dir);
        node.world.cut("g1");
        gateway.shutdown().await;
        state_dir = crashed.path().to_owned();
        kept.push(crashed);
    }
    let gateway = Gateway::open(node.options("g1", &state_dir)).unwrap();
    eventually("all acks", || {
        // A device must be heard again to be claimed from a stay of a run that crashed.
        for label in &labels {
            gateway.attach(label).unwrap();
        }
        gateway.status().backlog_messages == 0
    })
    .await;
    for label in &labels {
        assert_eq!(node.world.reported(label), format!(r#"{{"n":{}}}"#, rounds * reports));
        assert_eq!(node.world.reported_version(label), (rounds * reports + 1) as u64, "each once");
    }
    assert!(gateway.dead_letters().is_empty());
}

#[tokio::test]
async fn a_source_that_goes_on_from_its_position_has_each_row_take_effect_once() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let label = id("sensor");
    let mut state_dir = dir.path().to_owned();
    let mut kept = Vec::new();
    let rows = 300;
    for _ in 0..6 {
        let options = Options { coalesce: false, wait_at_cap: true, ..node.options("g1", &state_dir) };
        let gateway = Gateway::open(options).unwrap();
        let from = gateway.position("sensor.csv").unwrap_or(0);
        let upto = (from + 50).min(rows);
        for row in from + 1..=upto {
            let patch: twin_core::value::Value = serde_json::from_value(json!({ "row": row })).unwrap();
            gateway.report_many(vec![Report::new(label.clone(), patch).at("sensor.csv", row)]).await.unwrap();
        }
        let crashed = crash(&state_dir);
        // The one that crashed says no more.
        gateway.shutdown().await;
        node.world.cut("g1");
        state_dir = crashed.path().to_owned();
        kept.push(crashed);
    }
    let gateway = Gateway::open(node.options("g1", &state_dir)).unwrap();
    assert_eq!(gateway.position("sensor.csv"), Some(rows));
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"row":300}"#);
    assert_eq!(node.world.reported_version(&label), rows + 1, "each row once");
    assert!(gateway.dead_letters().is_empty());
}

#[tokio::test]
async fn a_position_that_does_not_rise_is_refused_and_changes_nothing() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    gateway.report_at(&id("d"), &json!({"a": 1}), "s", 5).await.unwrap();
    let error = gateway.report_at(&id("d"), &json!({"a": 2}), "s", 5).await.unwrap_err();
    assert!(error.to_string().contains("position 5 of source \"s\" is not above 5"), "{error}");
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&id("d")), r#"{"a":1}"#);
}

#[tokio::test]
async fn a_rolled_back_outbox_goes_on_under_a_new_identity_with_what_is_new() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let label = id("label-1");
    let gateway = node.gateway("g1", dir.path());
    gateway.report(&label, &json!({"n": "old"})).await.unwrap();
    let image = crash(dir.path());
    within("all acks", gateway.drained()).await.unwrap();
    gateway.shutdown().await;
    drop(gateway);
    // A second boot is committed, then the disk is rolled back to the image and boots for "the second time" again.
    let second = crate::sessions::reopened(node.options("g1", dir.path())).await;
    within("the ack", second.report(&label, &json!({"n": "newer"})).await.unwrap().acked()).await.unwrap();
    second.shutdown().await;
    let gateway = Gateway::open(node.options("g1", image.path())).unwrap();
    let before = gateway.status().outbox;
    eventually("a new identity", || gateway.status().outbox != before && gateway.status().connected).await;
    assert_eq!(node.world.reported(&label), r#"{"n":"newer"}"#, "the old report did not come back");
    gateway.report(&label, &json!({"n": "newest"})).await.unwrap();
    gateway.attach(&label).unwrap();
    eventually("the report", || {
        gateway.attach(&label).unwrap();
        node.world.reported(&label) == r#"{"n":"newest"}"#
    })
    .await;
}
