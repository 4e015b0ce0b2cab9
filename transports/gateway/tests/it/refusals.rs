//! What the node refuses blocks nobody, and nothing of it vanishes.

use std::time::Duration;

use serde_json::json;
use twin_core::command::{Command, StateBody};
use twin_core::refusal::{Refusal, RuleViolation};
use twin_gateway::{NotAcked, TwinLink};

use crate::node::{Node, World, eventually, id, within};

fn rule() -> Refusal {
    Refusal::Rule(RuleViolation { code: "test".into(), pointer: "/reported".into(), message: "no".into(), limit: None })
}

#[tokio::test]
async fn a_message_refused_for_good_is_a_dead_letter_and_the_next_ones_go_on() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let label = id("label-1");
    node.world.refuse(|_, command| match command {
        Command::State { body: StateBody::Report(_), first, .. } if first.get() == 2 => Some(rule()),
        _ => None,
    });
    let mut receipts = Vec::new();
    for n in 1..=4 {
        receipts.push(gateway.report(&label, &json!({ "n": n })).await.unwrap());
    }
    within("the ack", receipts[3].acked()).await.unwrap();
    assert!(
        matches!(within("the refusal", receipts[1].acked()).await, Err(NotAcked::Refused(refusal)) if *refusal == rule())
    );
    assert_eq!(receipts[0].fate(), Some(Ok(())));
    assert_eq!(node.world.reported(&label), r#"{"n":4}"#);
    assert_eq!(node.world.reported_version(&label), 4, "1, 3 and 4 took effect");
    let letters = gateway.dead_letters();
    assert_eq!((letters.len(), letters[0].code.as_str(), letters[0].first.get()), (1, "document-rule", 2));
    gateway.shutdown().await;
    drop(gateway);
    let gateway = crate::sessions::reopened(node.options("g1", dir.path())).await;
    assert_eq!(gateway.dead_letters().len(), 1, "dead letters survive a restart");
}

#[tokio::test]
async fn an_unregistered_device_waits_and_blocks_nobody() {
    let node = Node::start(World::new(false));
    let (known, unknown) = (id("known"), id("unknown"));
    node.world.put(&known, "{}");
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    gateway.report(&unknown, &json!({"a": 1})).await.unwrap();
    within("the ack", gateway.report(&known, &json!({"a": 1})).await.unwrap().acked()).await.unwrap();
    eventually("told", || gateway.link(&unknown) == TwinLink::NotRegistered).await;
    assert_eq!((gateway.status().unregistered, gateway.dead_letters().len()), (1, 0));
    node.world.put(&unknown, "{}");
    within("the ack", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&unknown), r#"{"a":1}"#);
}

#[tokio::test]
async fn busy_makes_one_device_wait_in_order_and_no_other() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let (slow, quick) = (id("slow"), id("quick"));
    let mut refusals = 3;
    let busy = slow.clone();
    node.world.refuse(move |twin, command| {
        let refuse = *twin == busy && matches!(command, Command::State { .. }) && refusals > 0;
        refusals -= i32::from(refuse);
        refuse.then(|| Refusal::Busy { what: "test".into(), retry_after_ms: 50 })
    });
    for n in 1..=10 {
        gateway.report(&slow, &json!({ "n": n })).await.unwrap();
    }
    within("the other", gateway.report(&quick, &json!({"a": 1})).await.unwrap().acked()).await.unwrap();
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported_version(&slow), 11);
    assert!(gateway.dead_letters().is_empty());
}

#[tokio::test]
async fn a_roamed_devices_old_gateway_cannot_overwrite_and_says_so() {
    let node = Node::start(World::new(true));
    let (dir_a, dir_b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = (node.gateway("a", dir_a.path()), node.gateway("b", dir_b.path()));
    let label = id("label-1");
    within("a's ack", a.report(&label, &json!({"by": "a"})).await.unwrap().acked()).await.unwrap();
    // b hears the device, learns of a's attachment, and claims it when it hears the device again.
    b.report(&label, &json!({"by": "b"})).await.unwrap();
    eventually("the conflict", || matches!(b.link(&label), TwinLink::Conflict { .. })).await;
    assert_eq!(node.world.reported(&label), r#"{"by":"a"}"#);
    within("b's ack", b.report(&label, &json!({"by": "b", "again": true})).await.unwrap().acked()).await.unwrap();
    let late = a.report(&label, &json!({"by": "a, late"})).await.unwrap();
    assert!(
        matches!(within("a's refusal", late.acked()).await, Err(NotAcked::Refused(refusal)) if *refusal == Refusal::Superseded)
    );
    assert_eq!(node.world.reported(&label), r#"{"again":true,"by":"b"}"#);
    assert_eq!(a.dead_letters().len(), 1);
    // And it can roam back.
    a.report(&label, &json!({"by": "a"})).await.unwrap();
    eventually("a knows of b", || matches!(a.link(&label), TwinLink::Conflict { .. })).await;
    within("a's ack", a.report(&label, &json!({"by": "a again"})).await.unwrap().acked()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"again":true,"by":"a again"}"#);
}

#[tokio::test]
async fn numbers_that_the_node_lost_are_declared_lost_and_hold_up_nothing() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let label = id("label-1");
    // The node acks number 1 without taking it, as one does that was restored from a backup.
    let mut pretended = false;
    node.world.refuse(move |_, command| match command {
        Command::State { first, .. } if first.get() == 2 && !std::mem::replace(&mut pretended, true) => {
            Some(Refusal::Gap { next: twin_core::numbers::Seq::new(1) })
        }
        _ => None,
    });
    within("the ack", gateway.report(&label, &json!({"n": 1})).await.unwrap().acked()).await.unwrap();
    within("the ack", gateway.report(&label, &json!({"n": 2})).await.unwrap().acked()).await.unwrap();
    let lost = node.world.log(|done| match &done.command {
        Command::State { body: StateBody::Lost, first, last, .. } => Some((first.get(), last.get())),
        _ => None,
    });
    assert_eq!(lost, [(1, 1)]);
    assert_eq!(gateway.status().counters.numbers_lost, 1);
    assert_eq!(node.world.reported(&label), r#"{"n":2}"#);
    tokio::time::timeout(Duration::from_secs(5), gateway.shutdown()).await.unwrap();
}
