//! Every class of error has its status, its code and its details.

use serde_json::json;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_400() {
    let world = World::start().await;
    let client = world.client();
    let json_type = [("Content-Type", "application/json")];
    for body in [&b"{"[..], b"", b"\xff\xfe", b"{\"a\": 1e999}", b"{} {}", b"{'a': 1}"] {
        let refused = client.send("PUT", "twins/t", &json_type, Some(body));
        assert_eq!(refused.problem(400), "malformed-json", "{body:?}");
    }
    let detail = client.send("PUT", "twins/t", &json_type, Some(b"{\"tags\": }")).json();
    assert!(detail["detail"].as_str().unwrap().contains("line 1"), "{detail}");
    assert_eq!(client.put(&format!("twins/{}", "x".repeat(129)), json!({})).problem(400), "bad-id");
    assert_eq!(client.put("twins/t", json!({"site": "a/b"})).problem(400), "bad-id");
    assert_eq!(client.get("twins?limit=0").problem(400), "bad-number");
    assert_eq!(client.get("twins?limit=1001").problem(400), "bad-number");
    assert_eq!(client.get("twins?nonsense=1").problem(400), "unknown-parameter");
    assert_eq!(client.get("twins/t?x=1").problem(400), "unknown-parameter");
    assert_eq!(client.get("twins?cursor=%21%21").problem(400), "bad-cursor");
    assert_eq!(client.get(&format!("twins?cursor={}", "x".repeat(513))).problem(400), "bad-cursor");
    let refused = client.put("twins/t", json!({"site": "nowhere"}));
    assert_eq!(refused.problem(404), "site-not-found");
    assert_eq!(refused.json()["pointer"], "/site");
    let refused = client.get("twins/t/desired/a~2/b");
    assert_eq!(refused.problem(400), "bad-pointer");
    assert_eq!(refused.json()["pointer"], "/a~2/b");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_document_rules_are_422_and_named() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    let deep = (0..11).fold(json!(1), |inner, _| json!({ "a": inner }));
    let wide: serde_json::Map<_, _> = (0..1025).map(|n| (format!("k{n}"), json!(n))).collect();
    for (desired, pointer) in [
        (json!({"bad.key": 1}), "/desired/bad.key"),
        (json!({"a b": 1}), "/desired/a b"),
        (json!({"s": "x".repeat(4097)}), "/desired/s"),
        (json!({"n": (1_i64 << 52) + 1}), "/desired/n"),
        (json!(wide), "/desired"),
        (deep, "/desired/a"),
        (json!([1]), "/desired"),
        (json!("x"), "/desired"),
    ] {
        let refused = client.put("twins/t", json!({"desired": desired.clone()}));
        assert_eq!(refused.problem(422), "document-rule", "{desired}");
        let found = refused.json()["pointer"].as_str().unwrap().to_owned();
        assert!(found.starts_with(pointer), "{found} for {pointer}");
        assert!(refused.json()["rule"].is_string());
    }
    for (body, pointer) in [
        (json!({"deviceId": "t"}), "/deviceId"),
        (json!({"properties": {}}), "/properties"),
        (json!({"site": 3}), "/site"),
    ] {
        let refused = client.put("twins/t", body);
        refused.problem(422);
        assert_eq!(refused.json()["pointer"], pointer);
    }
    client.patch("twins/t", json!({"site": "x"})).problem(422);
    client.patch("twins/t", json!([])).problem(422);
    assert_eq!(client.get("twins/t").expect(200).json()["version"], 1, "bad input changes nothing");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_413_and_the_limit_is_told() {
    let world = World::start().await;
    let client = world.client();
    let strings = |count: usize| {
        json!((0..count).map(|n| (format!("k{n}"), json!("x".repeat(4000)))).collect::<serde_json::Map<_, _>>())
    };
    let refused = client.put("twins/t", json!({"desired": strings(9)}));
    assert_eq!(refused.problem(413), "too-large");
    assert_eq!(refused.json()["limit"], 32 * 1024);
    assert_eq!(refused.json()["pointer"], "/desired");
    let refused = client.put("twins/t", json!({"tags": strings(3)}));
    assert_eq!(refused.json()["limit"], 8 * 1024);
    let huge = vec![b' '; 1024 * 1024 + 1];
    let refused = client.send("PUT", "twins/t", &[("Content-Type", "application/json")], Some(&huge));
    assert_eq!(refused.problem(413), "too-large");
    assert_eq!(refused.json()["limit"], 1024 * 1024);
    client.get("twins/t").problem(404);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_content_types_are_415() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    let send = |method: &str, kind: &str| client.send(method, "twins/t", &[("Content-Type", kind)], Some(b"{}"));
    send("PUT", "text/plain").problem(415);
    send("PUT", "application/merge-patch+json").problem(415);
    send("PATCH", "application/merge-patch+json").expect(200);
    send("PATCH", "application/json; charset=utf-8").expect(200);
    assert_eq!(client.send("PUT", "twins/t", &[], Some(b"{}")).problem(415), "unsupported-media-type");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_routes_are_404_and_wrong_methods_405() {
    let world = World::start().await;
    let client = world.client();
    assert_eq!(client.get("nothing").problem(404), "route-not-found");
    assert_eq!(client.get("/nothing").problem(404), "route-not-found");
    assert_eq!(client.get("twins/").problem(404), "route-not-found");
    assert_eq!(client.get("twins/t/nothing").problem(404), "route-not-found");
    let refused = client.send("POST", "twins/t", &[], None);
    assert_eq!(refused.problem(405), "method-not-allowed");
    assert_eq!(refused.header("allow"), Some("GET, PUT, PATCH, DELETE, HEAD"));
    client.send("OPTIONS", "sites", &[], None).problem(405);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_contradicts_the_state_is_409() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/a", json!({})).expect(201);
    client.put("twins/t", json!({"site": "a"})).expect(201);
    assert_eq!(client.put("twins/t", json!({"site": "default"})).problem(409), "other-site");
    client.put("twins/t", json!({"site": "a"})).expect(200);
    client.put("twins/t", json!({})).expect(200);
    assert_eq!(client.put("twins/u", json!({"site": "nowhere"})).problem(404), "site-not-found");
    assert_eq!(client.post("twins/t/methods/blink", json!({})).problem(409), "not-connected");
    assert_eq!(client.post("twins/none/methods/blink", json!({})).problem(404), "twin-not-found");
    client.post("twins/t/methods/blink", json!({"timeoutSeconds": 301})).problem(422);
    client.post("twins/t/methods/blink", json!({"nonsense": 1})).problem(422);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_bounded_too() {
    use std::io::Write as _;
    let world = World::start().await;
    let client = world.client();
    let mut stream = client.connect();
    let head = format!(
        "PUT /api/v1/twins/t HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        client.token
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000)).into_bytes();
    for _ in 0..20 {
        stream.write_all(&chunk).unwrap();
    }
    stream.write_all(b"0\r\n\r\n").unwrap();
    let refused = crate::http::read_response(stream);
    assert_eq!(refused.problem(413), "too-large");
    world.node.shutdown().await;
}
