//! Prepared properties, receipts for many, and more paths than have numbers.

use serde_json::json;
use twin_core::command::{Command, StateBody};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_gateway::{Gateway, NotAcked, Options, Report, Update};

use crate::node::{Node, World, id, within};

#[tokio::test]
async fn prepared_properties_do_what_the_same_report_does() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let property = |pointer: &str| gateway.property(pointer).unwrap();
    let (price, unit, tags, map) = (property("/price"), property("/unit/name"), property("/tags"), property("/map"));
    let label = id("label-1");
    let object = twin_core::json::parse(br#"{"a":{"b":1}}"#, "x").unwrap();
    let update = Update::new(label.clone())
        .set(&price, 3.5)
        .set_text(&unit, "kg")
        .set(&tags, Value::Array(vec![1.into(), "x".into(), Value::Array(vec![true.into()])]))
        .set(&map, object);
    within("the ack", gateway.update(update).await.unwrap().acked()).await.unwrap();
    let expected = r#"{"map":{"a":{"b":1}},"price":3.5,"tags":[1,"x",[true]],"unit":{"name":"kg"}}"#;
    assert_eq!(node.world.reported(&label), expected);
    let updates = vec![
        Update::new(label.clone()).remove(&map).remove(&tags),
        Update::new(label.clone()).set(&price, 4),
        Update::new(id("label-2")).set(&price, true),
    ];
    let receipts = gateway.update_all(updates).await.unwrap();
    assert_eq!(receipts.len(), 3);
    within("the acks", receipts.acked()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"price":4,"unit":{"name":"kg"}}"#);
    assert_eq!(node.world.reported(&id("label-2")), r#"{"price":true}"#);
}

#[tokio::test]
async fn an_update_that_breaks_a_rule_is_told_and_changes_nothing() {
    let node = Node::start(World::new(true));
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (gateway, other) = (node.gateway("g1", dir.path()), node.gateway("g2", other.path()));
    let price = gateway.property("/price").unwrap();
    for wrong in [Value::Null, f64::NAN.into(), i64::MAX.into(), Value::from("x".repeat(5000).as_str())] {
        let updates =
            vec![Update::new(id("a")).set(&price, 1), Update::new(id("b")).set(&price, wrong.clone()).set(&price, 2)];
        assert!(gateway.update_all(updates).await.is_err(), "{wrong:?}");
    }
    let long = Update::new(id("a")).set_text(&price, &"x".repeat(5000));
    assert!(gateway.update(long).await.unwrap_err().to_string().contains("the limit is 4096"));
    let error = other.update(Update::new(id("a")).set(&price, 1)).await.unwrap_err();
    assert!(error.to_string().contains("another gateway"), "{error}");
    for pointer in ["", "price", "/a b", "/$version"] {
        assert!(gateway.property(pointer).is_err(), "{pointer:?}");
    }
    assert_eq!((gateway.status().counters.appended, other.status().counters.appended), (0, 0));
}

#[tokio::test]
async fn more_paths_than_have_numbers_are_reported_all_the_same_also_after_a_restart() {
    let world = World::new(true);
    let node = Node::start(world);
    let dir = tempfile::tempdir().unwrap();
    let document = |device: usize, round: usize| {
        let member = |key: usize| (format!("key-{device}-{key}"), json!(round * key));
        serde_json::Value::Object((0..600).map(member).collect())
    };
    let offline = Options { node: "127.0.0.1:9".into(), ..node.options("g1", dir.path()) };
    let gateway = Gateway::open(offline).unwrap();
    for device in 0..5 {
        gateway.report(&id(&format!("d{device}")), &document(device, 1)).await.unwrap();
    }
    gateway.shutdown().await;
    drop(gateway);
    let gateway = crate::sessions::reopened(node.options("g1", dir.path())).await;
    // Known paths, new ones that have no number, and prepared ones.
    gateway.report(&id("d4"), &json!({"key-0-1": "known", "key-4-599": "inline"})).await.unwrap();
    let (known, inline) = (gateway.property("/key-0-2").unwrap(), gateway.property("/another").unwrap());
    gateway.update(Update::new(id("d4")).set(&known, 2).set(&inline, "x")).await.unwrap();
    within("all acks", gateway.drained()).await.unwrap();
    for device in 0..4 {
        let reported: serde_json::Value =
            serde_json::from_str(&node.world.reported(&id(&format!("d{device}")))).unwrap();
        assert_eq!(reported, document(device, 1), "device {device}");
    }
    let reported: serde_json::Value = serde_json::from_str(&node.world.reported(&id("d4"))).unwrap();
    assert_eq!(reported["key-4-598"], 598);
    assert_eq!((&reported["key-0-1"], &reported["key-4-599"]), (&json!("known"), &json!("inline")));
    assert_eq!((&reported["key-0-2"], &reported["another"]), (&json!(2), &json!("x")));
    assert!(gateway.dead_letters().is_empty());
}

#[tokio::test]
async fn one_receipt_for_many_waits_for_all_and_says_what_was_refused() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let refused = id("d3");
    let never = refused.clone();
    node.world.refuse(move |twin, command| {
        let refuse = *twin == never && matches!(command, Command::State { body: StateBody::Report(_), .. });
        refuse.then(|| Refusal::Invalid { message: "test".into() })
    });
    let patch = |n: u32| serde_json::from_value::<twin_core::value::Value>(json!({ "n": n })).unwrap();
    let reports = (0..300).filter(|n| *n != 3).map(|n| Report::new(id(&format!("d{n}")), patch(n)));
    let receipts = gateway.report_all(reports.collect()).await.unwrap();
    within("the acks", receipts.acked()).await.unwrap();
    assert!(receipts.clone().into_iter().all(|receipt| receipt.fate() == Some(Ok(()))));
    assert_eq!(node.world.reported(&id("d299")), r#"{"n":299}"#);
    let receipts =
        gateway.report_all(vec![Report::new(id("d1"), patch(7)), Report::new(refused, patch(7))]).await.unwrap();
    assert!(matches!(within("the refusal", receipts.acked()).await, Err(NotAcked::Refused(_))));
    assert_eq!(node.world.reported(&id("d1")), r#"{"n":7}"#);
}

#[tokio::test]
async fn a_report_of_nothing_waits_for_nothing() {
    let node = Node::start(World::new(true));
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let none = within("nothing", gateway.report_all(Vec::new())).await.unwrap();
    within("nothing", none.acked()).await.unwrap();
}
