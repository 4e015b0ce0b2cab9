//! Registering, reading, changing, listing and deleting twins.

use serde_json::json;

use crate::world::{World, client_of, start_in};

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_is_registered_read_changed_and_deleted() {
    let world = World::start().await;
    let client = world.client();
    client.get("twins/label-1").problem(404);

    let made = client.put("twins/label-1", json!({"tags": {"floor": 1}, "desired": {"price": 3}})).expect(201);
    let twin = made.json();
    assert_eq!(twin["deviceId"], "label-1");
    assert_eq!(twin["site"], "default");
    assert_eq!(twin["connectionState"], "Disconnected");
    assert_eq!(twin["incarnation"], 1);
    assert_eq!(twin["tags"], json!({"floor": 1}));
    assert_eq!(twin["properties"]["desired"]["price"], 3);
    assert_eq!(twin["properties"]["desired"]["$version"], 1);
    assert_eq!(twin["properties"]["reported"]["$version"], 1);
    assert!(twin["properties"]["desired"]["$metadata"]["$lastUpdated"].is_string());
    assert_eq!(twin["convergence"]["/price"]["state"], "pending");
    assert!(made.etag().starts_with(&format!("\"{}.", twin["etag"].as_str().unwrap())));

    let read = client.get("twins/label-1").expect(200);
    assert_eq!(read.json(), twin);
    assert_eq!(read.etag(), made.etag());

    let patched =
        client.patch("twins/label-1", json!({"tags": {"floor": null, "aisle": "b"}, "desired": {"price": 4}}));
    let patched = patched.expect(200).json();
    assert_eq!(patched["tags"], json!({"aisle": "b"}));
    assert_eq!(patched["properties"]["desired"]["price"], 4);
    assert_eq!(patched["properties"]["desired"]["$version"], 2);

    let replaced = client.put("twins/label-1", json!({"desired": {"led": true}})).expect(200).json();
    assert_eq!(replaced["tags"], json!({}));
    assert_eq!(replaced["properties"]["desired"]["price"], json!(null));
    assert_eq!(replaced["properties"]["desired"]["$version"], 3);

    assert!(client.delete("twins/label-1").expect(204).body.is_empty());
    client.get("twins/label-1").problem(404);
    client.delete("twins/label-1").problem(404);

    let again = client.put("twins/label-1", json!({})).expect(201).json();
    assert!(again["incarnation"].as_u64() > twin["incarnation"].as_u64(), "a new life");
    assert!(again["properties"]["desired"]["$version"].as_u64().unwrap() > 3, "versions never go back");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_changes_nothing_raises_no_version() {
    let world = World::start().await;
    let client = world.client();
    let made = client.put("twins/t", json!({"desired": {"a": 3}})).expect(201);
    let same = client.patch("twins/t", json!({"desired": {"a": 3.0}})).expect(200);
    assert_eq!(same.json()["properties"]["desired"]["$version"], 1);
    assert_eq!(same.etag(), made.etag());
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_are_percent_decoded_exactly_once() {
    let world = World::start().await;
    let client = world.client();
    for (path, id) in [
        ("twins/%252F", "%2F"),
        ("twins/%2525", "%25"),
        ("twins/%25", "%"),
        ("twins/a%23b", "a#b"),
        ("twins/a%3Fb", "a?b"),
        ("twins/a%3fc", "a?c"),
        ("twins/a+b", "a+b"),
        ("twins/a%2Bc", "a+c"),
        ("twins/a-._*!(),:=@$'z", "a-._*!(),:=@$'z"),
        ("twins/%61bc", "abc"),
    ] {
        assert_eq!(client.put(path, json!({})).expect(201).json()["deviceId"], id, "{path}");
        assert_eq!(client.get(path).expect(200).json()["deviceId"], id, "{path}");
    }
    for path in ["twins/a%2Fb", "twins/%2E", "twins/%2e%2e", "twins/a%20b", "twins/%zz", "twins/%FF", "twins/%"] {
        client.put(path, json!({})).problem(400);
    }
    let listed = client.get("twins?limit=1000").expect(200).json();
    assert_eq!(listed["twins"].as_array().unwrap().len(), 10);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twins_are_listed_by_site_in_pages() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/store-1", json!({})).expect(201);
    for n in 0..5 {
        client.put(&format!("twins/a{n}"), json!({"site": "store-1"})).expect(201);
        client.put(&format!("twins/b{n}"), json!({})).expect(201);
    }
    let mut seen = Vec::new();
    let mut path = "twins?site=store-1&limit=2".to_owned();
    let pages = loop {
        let page = client.get(&path).expect(200).json();
        seen.extend(page["twins"].as_array().unwrap().iter().map(|twin| twin["deviceId"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => path = format!("twins?site=store-1&limit=2&cursor={}", encode(next)),
            None => break seen.len().div_ceil(2),
        }
    };
    assert_eq!(seen, ["a0", "a1", "a2", "a3", "a4"]);
    assert_eq!(pages, 3);
    assert_eq!(client.get("twins").expect(200).json()["twins"].as_array().unwrap().len(), 10);
    client.get("twins?site=nowhere").problem(404);
    world.node.shutdown().await;
}

fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, b| {
        write!(encoded, "%{b:02X}").unwrap();
        encoded
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_survives_a_restart_of_its_node() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(dir.path()).await;
    let before = client_of(&node).put("twins/t", json!({"desired": {"a": {"b": [1, "x"]}}})).expect(201);
    node.shutdown().await;
    let node = start_in(dir.path()).await;
    let after = client_of(&node).get("twins/t").expect(200);
    assert_eq!(after.json(), before.json());
    assert_eq!(after.etag(), before.etag());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_no_device_touched_was_never_heard_also_above_a_floor() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    client.delete("twins/t").expect(204);
    // A second life: its numbers stand above the floor that the first one left.
    let made = client.put("twins/t", json!({})).expect(201).json();
    assert!(made["incarnation"].as_u64() > Some(1), "{made}");
    for body in [made, client.get("twins/t").expect(200).json()] {
        assert_eq!(body["lastActivityTime"], serde_json::Value::Null, "{body}");
    }
    world.node.shutdown().await;
}
