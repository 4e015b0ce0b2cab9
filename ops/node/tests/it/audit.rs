//! The audit log: who changed what, from where, and who was turned away.

use serde_json::{Value, json};

use crate::http::Client;
use crate::world::{World, client_of, start_in};

fn entries(client: &Client, query: &str) -> Vec<Value> {
    client.get(&format!("audit{query}")).expect(200).json()["entries"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_logged_with_who_what_where_and_outcome() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/s", json!({"enrolment": "open"})).expect(201);
    client.post("sites/s/gateways", json!({"name": "g"})).expect(201);
    client.post("sites/nowhere/gateways", json!({"name": "g"})).problem(404);
    client.get("sites").expect(200);
    let logged = entries(&client, "?kind=changes");
    assert_eq!(logged.len(), 3, "one entry each, and none for what is read: {logged:?}");
    let [refused, added, made] = [&logged[0], &logged[1], &logged[2]];
    assert_eq!((&made["what"], &made["target"]), (&json!("PUT /sites/{id}"), &json!("/api/v1/sites/s")));
    assert_eq!((&made["who"], &made["status"]), (&json!("admin"), &json!(201)));
    assert!(made["from"].as_str().unwrap().starts_with("127.0.0.1:"), "{made}");
    assert!(made["at"].as_str().unwrap().starts_with("20"), "{made}");
    assert_eq!(made["detail"], "enrolment open");
    assert_eq!(added["detail"], "gateway g");
    assert!(!added.to_string().contains("secret"), "{added}");
    assert_eq!((&refused["status"], &refused["code"]), (&json!(404), &json!("site-not-found")));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steering_is_one_line_a_request_and_survives_a_restart_in_pages() {
    let dir = tempfile::tempdir().unwrap();
    let node = start_in(dir.path()).await;
    let client = client_of(&node);
    for n in 0..5 {
        client.put(&format!("twins/t{n}"), json!({})).expect(201);
    }
    let line = |n: u32| format!("{{\"id\": \"t{}\", \"desired\": {{\"a\": {n}}}}}", n % 5);
    let nobody = "{\"id\": \"nobody\", \"desired\": {}}".to_owned();
    let lines = (0..100).map(line).chain([nobody]).collect::<Vec<_>>().join("\n");
    let ndjson = [("Content-Type", "application/x-ndjson")];
    client.send("POST", "twins:batchUpdate", &ndjson, Some(lines.as_bytes())).expect(200);
    node.shutdown().await;
    let node = start_in(dir.path()).await;
    let client = client_of(&node);
    client.delete("twins/t0").expect(204);
    let logged = entries(&client, "?kind=steering");
    assert_eq!(logged.len(), 7, "a batch is one line");
    assert_eq!(logged[0]["what"], "DELETE /twins/{id}");
    assert_eq!(logged[1]["what"], "POST /twins:batchUpdate");
    let ended = (&logged[1]["status"], &logged[1]["detail"]);
    assert_eq!(ended, (&json!(200), &json!("100 items applied, 1 refused")), "{}", logged[1]);
    let first = client.get("audit?kind=steering&limit=3").expect(200).json();
    let rest = client.get(&format!("audit?kind=steering&before={}", first["next"])).expect(200).json();
    let paged: Vec<Value> =
        [&first, &rest].iter().flat_map(|page| page["entries"].as_array().unwrap().clone()).collect();
    assert_eq!(paged, logged);
    assert_eq!(rest["next"], Value::Null);
    for (query, code) in [("?kind=all", "bad-kind"), ("?limit=0", "bad-number"), ("?x=1", "unknown-parameter")] {
        assert_eq!(client.get(&format!("audit{query}")).problem(400), code);
    }
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_turned_away_is_logged_once_a_while_and_counted_each_time() {
    let world = World::start().await;
    let client = world.client();
    let stranger = Client { addr: client.addr, token: "a-guess".to_owned() };
    for _ in 0..50 {
        stranger.get("twins").problem(401);
    }
    let reader = client.post("tokens", json!({"name": "reader", "scope": "read"})).expect(201).json();
    let reader = Client { addr: client.addr, token: reader["token"].as_str().unwrap().to_owned() };
    reader.put("sites/s", json!({})).problem(403);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let logged = loop {
        // Security events do not hold up the request that they are about.
        let logged = entries(&client, "?kind=security");
        if logged.len() >= 2 {
            break logged;
        }
        assert!(std::time::Instant::now() < deadline, "{logged:?}");
    };
    assert_eq!(logged.len(), 2, "50 guesses are one line: {logged:?}");
    assert_eq!((&logged[1]["what"], &logged[1]["from"]), (&json!("token-refused"), &json!("127.0.0.1")));
    assert_eq!((&logged[0]["what"], &logged[0]["who"]), (&json!("scope-refused"), &json!("reader")));
    assert_eq!(logged[0]["target"], "PUT /api/v1/sites/s");
    assert!(!logged[1].to_string().contains("a-guess"));
    let metrics = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    assert!(metrics.contains("twinmesh_security_events_total{event=\"token-refused\"} 50\n"), "{metrics}");
    assert!(metrics.contains("twinmesh_audit_lost_total 0\n"), "{metrics}");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_logged_with_or_without_keys_and_takes_no_body() {
    let world = World::start().await;
    let client = world.client();
    client.send("POST", "backup", &[("Content-Length", "0")], None).expect(200);
    client.send("POST", "backup?keys=false", &[("Content-Length", "0")], None).expect(200);
    for path in ["backup", "certificates:reload"] {
        assert_eq!(client.post(path, json!({"keys": false})).problem(400), "body-not-taken", "{path}");
    }
    let logged = entries(&client, "?kind=changes");
    let details: Vec<&Value> = logged.iter().rev().map(|line| &line["detail"]).collect();
    assert_eq!(details[..2], [&json!("with the CA's key"), &json!("without keys")], "{logged:?}");
    world.node.shutdown().await;
}
