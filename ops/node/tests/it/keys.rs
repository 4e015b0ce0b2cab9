//! Changes with an idempotency key.

use serde_json::{Value, json};

use crate::batch_stream::Batch;
use crate::http::{Client, Response};
use crate::world::World;

fn keyed(client: &Client, method: &str, path: &str, key: &str, body: Value) -> Response {
    client.json(method, path, &[("Idempotency-Key", key)], body)
}

fn is_replayed(response: &Response) -> bool {
    response.header("idempotency-replayed") == Some("true")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_sent_again_is_answered_as_before_and_takes_no_effect() {
    let world = World::start().await;
    let client = world.client();
    let body = json!({"desired": {"n": 1}, "tags": {"a": 1}});
    let first = keyed(&client, "PUT", "twins/t", "\"k-1\"", body.clone()).expect(201);
    assert!(!is_replayed(&first));
    assert_eq!(first.header("idempotency-outcome"), Some("version=1, desired-version=1, etag=\"1-1-1\""));
    client.patch("twins/t", json!({"desired": {"n": 2}})).expect(200);
    // Without its quotes, and its members in another order.
    let again = client.send(
        "PUT",
        "twins/t",
        &[("Idempotency-Key", "k-1"), ("Content-Type", "application/json")],
        Some(br#"{ "tags": {"a":1}, "desired": {"n":1} }"#),
    );
    let again = again.expect(201);
    assert!(is_replayed(&again));
    assert_eq!(again.header("idempotency-outcome"), first.header("idempotency-outcome"));
    assert_eq!(again.json(), client.get("twins/t").expect(200).json(), "the twin as it is now");
    assert_eq!(again.json()["properties"]["desired"]["n"], 2);

    // With a condition that the first time made fail.
    let headers = [("Idempotency-Key", "k-2"), ("If-Match", "1-1-2")];
    let patch = || client.json("PATCH", "twins/t", &headers, json!({"desired": {"n": 3}}));
    assert!(!is_replayed(&patch().expect(200)));
    assert!(is_replayed(&patch().expect(200)));
    let headers = [("Idempotency-Key", "k-3"), ("If-Match", "1-1-2")];
    client.json("PATCH", "twins/t", &headers, json!({"desired": {"n": 4}})).problem(412);

    // Of a part of the twin, and its removal.
    for (method, body) in [("PUT", Some(&b"7"[..])), ("DELETE", None)] {
        let headers = [("Idempotency-Key", method), ("Content-Type", "application/json")];
        let send = || client.send(method, "twins/t/desired/price", &headers, body).expect(200);
        assert!(!is_replayed(&send()) && is_replayed(&send()));
    }
    assert_eq!(client.get("twins/t/desired").expect(200).json()["$version"], 5);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_key_cannot_promise_is_refused() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    keyed(&client, "PATCH", "twins/t", "k", json!({"desired": {"n": 1}})).expect(200);
    let reused = keyed(&client, "PATCH", "twins/t", "k", json!({"desired": {"n": 2}}));
    assert_eq!(reused.problem(422), "idempotency-key-reused");
    let detail = reused.json()["detail"].as_str().unwrap().to_owned();
    for said in ["the change that made version 2 of twin t", "at least 5 minutes", "a new key"] {
        assert!(detail.contains(said), "{detail}");
    }
    let elsewhere = keyed(&client, "PATCH", "twins/t/desired", "k", json!({"m": 1}));
    assert_eq!(elsewhere.problem(422), "idempotency-key-reused");
    client.put("twins/u", json!({})).expect(201);
    keyed(&client, "PATCH", "twins/u", "k", json!({"desired": {"n": 2}})).expect(200);
    for bad in ["", "a b", &"x".repeat(65), "\"a"] {
        assert_eq!(keyed(&client, "PATCH", "twins/t", bad, json!({})).problem(400), "bad-idempotency-key", "{bad:?}");
    }
    for (method, path) in [
        ("DELETE", "twins/t"),
        ("POST", "twins:batchUpdate"),
        ("DELETE", "sites/s"),
        ("POST", "sites/default/devices"),
        ("DELETE", "sites/default/gateways/g"),
        ("DELETE", "sites/default/gateways/g/keys/old"),
        ("DELETE", "tokens/t"),
        ("POST", "certificates:reload"),
        ("POST", "backup"),
    ] {
        assert_eq!(keyed(&client, method, path, "k", json!({})).problem(400), "idempotency-key-not-taken", "{path}");
    }
    // One is remembered.
    for n in 1..8 {
        keyed(&client, "PATCH", "twins/t", &format!("k-{n}"), json!({"desired": {"n": n}})).expect(200);
    }
    let refused = keyed(&client, "PATCH", "twins/t", "k-8", json!({"desired": {"n": 8}}));
    assert_eq!(refused.problem(429), "idempotency-keys-used-up");
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((200..=300).contains(&after), "{after}");
    assert_eq!(refused.json()["limit"], 8);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for said in ["8 idempotency keys of changes of twin t", "at least 5 minutes", "without a key"] {
        assert!(detail.contains(said), "{detail}");
    }
    assert_eq!(client.get("twins/t/desired/n").expect(200).json(), 7, "nothing was changed");
    assert!(is_replayed(&keyed(&client, "PATCH", "twins/t", "k", json!({"desired": {"n": 1}})).expect(200)));
    client.patch("twins/t", json!({"desired": {"n": 9}})).expect(200);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_of_a_batch_have_keys_each() {
    let world = World::start().await;
    let client = world.client();
    for id in ["t", "u"] {
        client.put(&format!("twins/{id}"), json!({})).expect(201);
    }
    let item =
        |id: &str, n: u64, key: &str| format!("{}\n", json!({"id": id, "desired": {"n": n}, "idempotencyKey": key}));
    // The second is the first again, the fourth has its key and another body.
    let body = [item("t", 1, "k"), item("t", 1, "k"), item("u", 1, "k"), item("t", 2, "k")].concat();
    let results = Batch::open(&client).exchange(body.clone());
    let done = |id: &str| json!({"id": id, "status": 200, "version": 2, "desiredVersion": 2, "etag": "1-1-2"});
    let again = |id: &str| {
        let mut done = done(id);
        done["replayed"] = json!(true);
        done
    };
    assert_eq!(results[..3], [done("t"), again("t"), done("u")]);
    assert_eq!((&results[3]["status"], &results[3]["code"]), (&json!(422), &json!("idempotency-key-reused")));
    client.patch("twins/t", json!({"desired": {"n": 5}})).expect(200);
    let results = Batch::open(&client).exchange(body);
    assert_eq!(results[..3], [again("t"), again("t"), again("u")]);
    assert_eq!(client.get("twins/t/desired/n").expect(200).json(), 5);
    // The same change by a request of its own is the same change.
    assert!(is_replayed(&keyed(&client, "PATCH", "twins/t", "k", json!({"desired": {"n": 1}})).expect(200)));
    // A twin without room for more holds up nothing but its own items.
    let many: String = (0..9).map(|n| item("t", n, &format!("k-{n}"))).chain([item("u", 7, "k-7")]).collect();
    let results = Batch::open(&client).exchange(many);
    let statuses: Vec<u64> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 200, 200, 429, 429, 200]);
    assert!(results[7]["retryAfterMs"].as_u64().is_some_and(|ms| ms > 200_000), "{}", results[7]);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_changed_once_with_a_key_whatever_others_do_to_it_meanwhile() {
    let world = World::start().await;
    let client = world.client();
    let open = || keyed(&client, "PUT", "sites/s", "k", json!({"enrolment": "open"}));
    let first = open().expect(201);
    assert_eq!((is_replayed(&first), first.header("idempotency-outcome")), (false, Some("created=?1")));
    client.put("sites/s", json!({"enrolment": "list"})).expect(200);
    let again = open().expect(201);
    assert!(is_replayed(&again));
    assert_eq!(again.json()["enrolment"], "list", "the site as it is now");
    let reused = keyed(&client, "PUT", "sites/s", "k", json!({"enrolment": "list"}));
    assert_eq!(reused.problem(422), "idempotency-key-reused");
    // Also a change that changed nothing is remembered; and there is a bound.
    for n in 1..8 {
        keyed(&client, "PUT", "sites/s", &format!("k-{n}"), json!({})).expect(200);
    }
    let refused = keyed(&client, "PUT", "sites/s", "one-more", json!({"enrolment": "open"}));
    assert_eq!(
        (refused.problem(429), client.get("sites/s").json()["enrolment"].as_str()),
        ("idempotency-keys-used-up".into(), Some("list"))
    );
    let world = world.restart().await;
    let client = world.client();
    assert!(is_replayed(&keyed(&client, "PUT", "sites/s", "k", json!({"enrolment": "open"})).expect(201)));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_credentials_once_and_a_repeat_is_told_what_to_do() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/s", json!({})).expect(201);
    let add = |client: &Client| keyed(client, "POST", "sites/s/gateways", "k", json!({"name": "g"}));
    add(&client).expect(201);
    let spent = |response: Response, instead: &str| {
        assert_eq!(response.problem(409), "idempotency-key-spent");
        let detail = response.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(instead), "{detail}");
    };
    spent(add(&client), "/api/v1/sites/s/gateways/g/keys");
    let rotate = |client: &Client, key: &str| {
        keyed(client, "POST", "sites/s/gateways/g/keys", key, json!({"overlapSeconds": 3600}))
    };
    let until = || client.get("sites/s").expect(200).json()["gateways"][0]["oldKeyUntil"].clone();
    rotate(&client, "r").expect(201);
    let before = until();
    spent(rotate(&client, "r"), "/keys");
    assert_eq!(until(), before, "nothing was rotated");
    assert_eq!(rotate(&client, "k").problem(422), "idempotency-key-reused");
    // Also after the gateway was removed: a late repeat must not let it in again.
    client.delete("sites/s/gateways/g").expect(204);
    spent(add(&client), "/api/v1/sites/s/gateways");
    keyed(&client, "POST", "sites/s/gateways", "other", json!({"name": "g"})).expect(201);
    // The key stands for one request of the site: with another name it is another.
    let other = keyed(&client, "POST", "sites/s/gateways", "k", json!({"name": "h"}));
    assert_eq!(other.problem(422), "idempotency-key-reused");
    assert!(
        other.json()["detail"].as_str().unwrap().contains("used before for credentials made of gateway g of site s")
    );
    client.put("sites/r", json!({})).expect(201);
    keyed(&client, "POST", "sites/r/gateways", "k", json!({"name": "h"})).expect(201);

    let token = |client: &Client, key: &str, scope: &str| {
        keyed(client, "POST", "tokens", key, json!({"name": "ci", "scope": scope}))
    };
    token(&client, "k", "read").expect(201);
    spent(token(&client, "k", "read"), "DELETE /api/v1/tokens/ci");
    assert_eq!(token(&client, "k", "steer").problem(422), "idempotency-key-reused");
    assert_eq!(token(&client, "k2", "read").problem(409), "token-exists");
    client.delete("tokens/ci").expect(204);
    let world = world.restart().await;
    let client = world.client();
    spent(token(&client, "k", "read"), "DELETE /api/v1/tokens/ci");
    spent(add(&client), "/api/v1/sites/s/gateways");
    token(&client, "k2", "read").expect(201);
    world.node.shutdown().await;
}
