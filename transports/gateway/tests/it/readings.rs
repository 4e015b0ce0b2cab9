//! Readings of twins through a real session.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use twin_core::command::Command;
use twin_core::ids::TwinId;
use twin_core::json::to_compact;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_gateway::{Gateway, GetError};

use crate::node::{Node, World, eventually, id, within};

async fn connected(node: &Node, dir: &std::path::Path) -> Gateway {
    let gateway = node.gateway("g1", dir);
    eventually("the session", || gateway.status().connected).await;
    gateway
}

#[tokio::test]
async fn a_view_tells_what_is_reported_desired_and_followed() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = connected(&node, dir.path()).await;
    let label = id("label-1");
    node.world.put(&label, r#"{"price": 1.5, "unit": {"name": "kg"}}"#);
    within("the ack", gateway.report(&label, &json!({"price": 1.5, "n": [1, null]})).await.unwrap().acked())
        .await
        .unwrap();
    let view = within("the reading", gateway.get(&label)).await.unwrap();
    assert_eq!(to_compact(&view.reported().unwrap()), r#"{"n":[1,null],"price":1.5}"#);
    assert_eq!(to_compact(&view.desired().unwrap()), r#"{"price":1.5,"unit":{"name":"kg"}}"#);
    assert_eq!(view.desired_value(&Path::from_keys(["unit", "name"])), Ok(Some(Value::from("kg"))));
    assert_eq!(view.reported_value(&Path::from_keys(["unit"])), Ok(None));
    assert_eq!(to_compact(&view.convergence().unwrap()), node.world.convergence(&label));
    assert_eq!(view.reported_version().unwrap().get(), node.world.reported_version(&label));
    assert_eq!(view.office(), Ok(None));
}

#[tokio::test]
async fn many_are_read_in_one_call_each_or_its_refusal_in_its_place() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = connected(&node, dir.path()).await;
    // More than one call's share, and than one frame's.
    let twins: Vec<TwinId> = (0..2500).map(|n| id(&format!("d{n}"))).collect();
    for (n, twin) in twins.iter().enumerate().filter(|(n, _)| n % 5 != 0) {
        node.world.put(twin, &format!(r#"{{"n": {n}}}"#));
    }
    let views = within("the readings", gateway.read_all(&twins)).await.unwrap();
    assert_eq!(views.len(), twins.len());
    for (n, (twin, view)) in twins.iter().zip(views).enumerate() {
        if n % 5 == 0 {
            assert_eq!(view, Err(Refusal::NotFound { twin: twin.to_string() }));
        } else {
            assert_eq!(to_compact(&view.unwrap().desired().unwrap()), format!(r#"{{"n":{n}}}"#));
        }
    }
    assert!(within("nothing", gateway.read_all(&[])).await.unwrap().is_empty());
}

#[tokio::test]
async fn readings_side_by_side_each_get_their_own_answer() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = connected(&node, dir.path()).await;
    let twins: Vec<TwinId> = (0..300).map(|n| id(&format!("d{n}"))).collect();
    for (n, twin) in twins.iter().enumerate() {
        node.world.put(twin, &format!(r#"{{"n": {n}}}"#));
    }
    let mut readings = tokio::task::JoinSet::new();
    for (n, twin) in twins.into_iter().enumerate() {
        let gateway = gateway.clone();
        readings.spawn(async move { (n, gateway.get(&twin).await.unwrap().desired().unwrap()) });
    }
    while let Some(read) = within("a reading", readings.join_next()).await {
        let (n, desired) = read.unwrap();
        assert_eq!(to_compact(&desired), format!(r#"{{"n":{n}}}"#));
    }
}

#[tokio::test]
async fn what_is_refused_for_the_moment_is_asked_again_also_in_the_next_session() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = connected(&node, dir.path()).await;
    node.world.put(&id("d"), r#"{"n": 1}"#);
    let refused = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refused);
    node.world.refuse(move |_, command| {
        let busy = || Refusal::Busy { what: "test".into(), retry_after_ms: 20 };
        (matches!(command, Command::View { .. }) && counted.fetch_add(1, Ordering::Relaxed) < 1000).then(busy)
    });
    let reading = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.get(&id("d")).await }
    });
    eventually("it is asked again", || refused.load(Ordering::Relaxed) > 2).await;
    node.world.cut("g1");
    eventually("the next session", || gateway.status().counters.sessions == 2).await;
    let before = refused.load(Ordering::Relaxed);
    eventually("it is asked again there", || refused.load(Ordering::Relaxed) > before).await;
    refused.store(1000, Ordering::Relaxed);
    let view = within("the reading", reading).await.unwrap().unwrap();
    assert_eq!(to_compact(&view.desired().unwrap()), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_reading_ends_with_the_gateway() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = connected(&node, dir.path()).await;
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    node.world.refuse(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Some(Refusal::Busy { what: "test".into(), retry_after_ms: 5000 })
    });
    let reading = tokio::spawn({
        let gateway = gateway.clone();
        async move { gateway.get(&id("d")).await }
    });
    eventually("it is asked", || asked.load(Ordering::Relaxed) > 0).await;
    within("the shutdown", gateway.shutdown()).await;
    assert_eq!(within("the reading", reading).await.unwrap(), Err(GetError::NotConnected));
}
