//! What a batch does with its lines.

use serde_json::json;

use crate::batch_stream::{Batch, PATH, register, setting};
use crate::world::World;
use twin_node::{Node, NodeOptions};

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_items_are_answered_one_by_one_and_in_order() {
    let world = World::start().await;
    register(&world.node, "t", 10_000).await;
    let body: String = (0..10_000).map(|n| setting(&format!("t-{n}"), n)).collect();
    let results = Batch::open(&world.client()).exchange(body);
    assert_eq!(results.len(), 10_000);
    for (n, result) in results.iter().enumerate() {
        let expected =
            json!({"id": format!("t-{n}"), "status": 200, "version": 2, "desiredVersion": 2, "etag": "1-1-2"});
        assert_eq!(*result, expected);
    }
    let client = world.client();
    for n in [0, 1, 4_999, 9_999] {
        let twin = client.get(&format!("twins/t-{n}")).expect(200).json();
        assert_eq!(twin["properties"]["desired"]["n"], n);
        assert_eq!((&twin["etag"], &twin["version"]), (&results[n]["etag"], &results[n]["version"]));
    }
    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    for line in [
        "twinmesh_batch_update_items_total{outcome=\"ok\"} 10000",
        "twinmesh_batch_update_items_in_flight 0",
        "twinmesh_batch_updates_open 0",
        "twinmesh_batch_get_items_total{outcome=\"ok\"} 0",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is not in\n{metrics}");
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_refused_is_told_and_does_not_end_the_stream() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"tags": {"a": 1}, "desired": {"p": 1}})).expect(201);
    let long = format!("{{\"id\": \"t\", \"desired\": {{\"x\": \"{}\"}}}}", "x".repeat(300 * 1024));
    let long_name = format!("{{\"id\": \"t\", \"{}\": 1}}", "n".repeat(200 * 1024));
    let lines: [(&str, u16, &str); 15] = [
        (r#"{"id": "none", "desired": {"p": 2}}"#, 404, "twin-not-found"),
        (r#"{"id": "t", "desired": {"p": 2}"#, 400, "malformed-json"),
        ("\u{1}", 400, "malformed-json"),
        (&long, 413, "too-large"),
        (r#"{"id": "t", "reported": {}}"#, 422, "document-rule"),
        (r#"{"id": "t", "desired": {"bad.key": 2}}"#, 422, "document-rule"),
        (r#"{"id": "t", "desired": [1]}"#, 422, "document-rule"),
        (r#"{"id": "t", "desired": {"n": 9007199254740993}}"#, 422, "document-rule"),
        (r#"{"id": "t", "desired": {"p": 2}, "ifMatch": "1-7-7"}"#, 412, "precondition-failed"),
        (r#"{"id": "t", "desired": {"p": 2}, "ifMatch": "a b"}"#, 400, "bad-condition"),
        (r#"{"id": "a b", "desired": {}}"#, 400, "bad-id"),
        (r#"{"desired": {}}"#, 422, "document-rule"),
        (r#""t""#, 422, "document-rule"),
        (r#"{"id": "t", "desired": {"bad.key": 1}, "tags": {"a": 2}}"#, 422, "document-rule"),
        (&long_name, 422, "document-rule"),
    ];
    let good = r#"{"id": "t", "tags": {"b": 2}, "desired": {"p": null, "q": {"r": [1]}}, "ifMatch": "\"1-1-1\""}"#;
    let mut body: String = lines.iter().flat_map(|(line, ..)| [line, "\r\n", " \n"]).collect();
    body.push('\n');
    body.push_str(good);
    let results = Batch::open(&client).exchange(body);
    assert_eq!(results.len(), lines.len() + 1);
    for (at, ((line, status, code), result)) in lines.iter().zip(&results).enumerate() {
        assert_eq!(result["status"], *status, "{line:.100} {result}");
        assert_eq!(result["code"], *code, "{line:.100} {result}");
        assert_eq!(result["line"], 2 * at + 1, "{line:.100}");
        assert!(result["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.len() <= 512));
    }
    assert_eq!((&results[0]["id"], &results[10]["id"]), (&json!("none"), &json!("a b")));
    assert!(results[1].get("id").is_none() && results[3].get("id").is_none());
    assert_eq!(results[3]["limit"], 256 * 1024);
    assert_eq!((&results[4]["rule"], &results[4]["pointer"]), (&json!("unknown-member"), &json!("/reported")));
    assert_eq!((&results[5]["rule"], &results[5]["pointer"]), (&json!("key"), &json!("/desired/bad.key")));
    assert_eq!(results[15]["etag"], "1-2-2", "{}", results[15]);
    let twin = client.get("twins/t").expect(200).json();
    assert_eq!(twin["tags"], json!({"a": 1, "b": 2}), "bad input changes nothing");
    assert_eq!((&twin["properties"]["desired"]["p"], &twin["version"]), (&json!(null), &json!(3)));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_one_twin_take_effect_in_their_order() {
    let world = World::start().await;
    register(&world.node, "t", 2).await;
    let body: String = (1..=3_000).map(|n| setting(&format!("t-{}", n % 2), n)).collect();
    let results = Batch::open(&world.client()).exchange(body);
    assert_eq!(results.len(), 3_000);
    for (at, result) in results.iter().enumerate() {
        assert_eq!(result["desiredVersion"], at / 2 + 2, "{result}");
    }
    let last = world.client().get("twins/t-0/desired").expect(200).json();
    assert_eq!(last["n"], 3_000);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_come_while_the_request_is_still_being_sent() {
    let world = World::start().await;
    register(&world.node, "t", 1).await;
    let mut batch = Batch::open(&world.client());
    for n in 0..20 {
        let line = setting("t-0", n);
        let (begin, end) = line.split_at(n);
        batch.send(if n == 0 { "\n" } else { begin });
        batch.send(end);
        assert_eq!(batch.next().unwrap()["desiredVersion"], n + 2);
    }
    batch.send(setting("t-0", 99).trim_end());
    batch.end();
    assert_eq!(batch.next().unwrap()["desiredVersion"], 22, "the last line needs no end");
    assert_eq!(batch.next(), None);
    assert_eq!(Batch::open(&world.client()).exchange("\n\n".to_owned()), Vec::<serde_json::Value>::new());
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_node_has_no_room_a_batch_waits_and_its_client_never_needs_to() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(dir.path().join("data"));
    options.cluster.admitted_bytes_max = 64 * 1024;
    let node = Node::start(options).await.unwrap();
    for from in 0..10 {
        register(&node, &format!("t{from}"), 30).await;
    }
    let client = crate::world::client_of(&node);
    let body: String = (0..3_000).map(|n| setting(&format!("t{}-{}", n % 10, n / 10 % 30), n)).collect();
    let results = Batch::open(&client).exchange(body);
    assert_eq!(results.len(), 3_000);
    for (n, result) in results.iter().enumerate() {
        assert_eq!((&result["status"], &result["desiredVersion"]), (&json!(200), &json!(n / 300 + 2)), "{n}: {result}");
    }
    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    let stalls = metrics.lines().find_map(|line| line.strip_prefix("twinmesh_batch_update_stalls_total ")).unwrap();
    assert!(stalls.parse::<u64>().unwrap() > 0, "it was never busy");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_changes_in_the_middle_every_line_is_answered_and_what_was_acknowledged_is_there() {
    let world = World::start().await;
    register(&world.node, "t", 4_000).await;
    let client = world.client();
    let body: String = (0..40_000).map(|n| setting(&format!("t-{}", n % 4_000), n)).collect();
    let batch = Batch::open(&client);
    let exchange = tokio::task::spawn_blocking(move || batch.exchange(body));
    let before = world.node.cluster().stats().entries;
    while world.node.cluster().stats().entries < before + 20 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    world.node.cluster().usurp().await;
    let results = exchange.await.unwrap();
    assert_eq!(results.len(), 40_000);
    world.node.ready().await;
    let mut last = vec![None; 4_000];
    let mut refused = 0;
    for (n, result) in results.iter().enumerate() {
        match result["status"].as_u64().unwrap() {
            200 => last[n % 4_000] = Some(n),
            503 => refused += 1,
            _ => panic!("{n}: {result}"),
        }
    }
    assert!(refused <= 4_096, "at most what was under way: {refused}");
    for (twin, n) in last.iter().enumerate().step_by(97) {
        let desired = client.get(&format!("twins/t-{twin}/desired")).expect(200).json();
        assert!(desired["n"].as_u64() >= n.map(|n| n as u64), "t-{twin}: {desired} after {n:?}");
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_ndjson_by_post_with_the_token_is_taken() {
    let world = World::start().await;
    let client = world.client();
    let refused = client.send("GET", PATH, &[], None);
    assert_eq!(refused.problem(405), "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("POST"));
    for kind in ["application/json", "text/plain", "application/x-ndjson; charset=latin1"] {
        client.send("POST", PATH, &[("Content-Type", kind)], Some(b"{}")).problem(415);
    }
    client.send("POST", PATH, &[], Some(b"{}")).problem(415);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    client.send("POST", "twins:batchUpdate?x=1", &ndjson, Some(b"{}")).problem(400);
    assert_eq!(client.send_bare("POST", PATH, &ndjson, Some(b"{}")).problem(401), "unauthorized");
    let taken = client.send("POST", PATH, &[("Content-Type", "Application/X-NDJSON; charset=utf-8")], Some(b""));
    assert!(taken.expect(200).body.is_empty());
    world.node.shutdown().await;
}
