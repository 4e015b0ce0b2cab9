//! Admin tokens: made, scoped, ended, revoked, without a restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twin_node::{Node, NodeOptions};

use crate::http::Client;
use crate::world::{World, client_of};

/// Another client of the same node.
fn with_token(client: &Client, token: &str) -> Client {
    Client { addr: client.addr, token: token.to_owned() }
}

fn made(client: &Client, name: &str, scope: &str) -> Client {
    let made = client.post("tokens", json!({"name": name, "scope": scope})).expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    with_token(client, made.json()["token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_made_listed_and_revoked_without_a_restart() {
    let world = World::start().await;
    let admin = world.client();
    let ci = made(&admin, "ci", "steer");
    assert!(ci.token.starts_with("twm.ci."), "{}", ci.token);
    ci.put("twins/t", json!({})).expect(201);
    assert_eq!(admin.post("tokens", json!({"name": "ci", "scope": "read"})).problem(409), "token-exists");
    let listed = admin.get("tokens").expect(200);
    let text = String::from_utf8(listed.body.clone()).unwrap();
    assert!(!text.contains(ci.token.rsplit('.').next().unwrap()), "the token is shown once: {text}");
    let tokens = listed.json()["tokens"].take();
    assert_eq!(tokens[0]["name"], "admin");
    assert_eq!(
        (&tokens[1]["name"], &tokens[1]["scope"], &tokens[1]["expiresAt"]),
        (&json!("ci"), &json!("steer"), &Value::Null)
    );
    admin.delete("tokens/ci").expect(204);
    assert_eq!(ci.get("twins/t").problem(401), "unauthorized");
    assert_eq!(admin.delete("tokens/ci").problem(404), "token-not-found");
    // A token of the same name is another token.
    let second = made(&admin, "ci", "read");
    assert_eq!(ci.get("twins/t").problem(401), "unauthorized");
    second.get("twins/t").expect(200);
    for (body, pointer) in [
        (json!({"scope": "read"}), "/name"),
        (json!({"name": "x"}), "/scope"),
        (json!({"name": "x", "scope": "all"}), "/scope"),
        (json!({"name": "x", "scope": "read", "expiresInSeconds": 0}), "/expiresInSeconds"),
        (json!({"name": "x", "scope": "read", "expiresInSeconds": 1.5}), "/expiresInSeconds"),
    ] {
        let refused = admin.post("tokens", body);
        refused.problem(422);
        assert_eq!(refused.json()["pointer"], pointer);
    }
    assert_eq!(admin.post("tokens", json!({"name": "a b", "scope": "read"})).problem(400), "bad-id");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_by_the_next_request_however_often_it_was_used() {
    let world = World::start().await;
    let admin = world.client();
    admin.put("twins/t", json!({})).expect(201);
    for _ in 0..8 {
        let ci = made(&admin, "ci", "read");
        for _ in 0..16 {
            ci.get("twins/t").expect(200);
        }
        admin.delete("tokens/ci").expect(204);
        assert_eq!(ci.get("twins/t").problem(401), "unauthorized");
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_is_answered_like_any_other_and_counted() {
    let world = World::start().await;
    let admin = world.client();
    let ci = made(&admin, "ci", "read");
    let answer = |token: &str| {
        let refused = with_token(&admin, token).get("twins/t");
        refused.problem(401);
        String::from_utf8(refused.body).unwrap()
    };
    let unknown = answer("twm.nobody.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    let last = if ci.token.ends_with('A') { "B" } else { "A" };
    for wrong in
        ["x", "twm.ci.", "twm.ci.AAAA", "twm..x", "twm.a b.x", &format!("{}{last}", &ci.token[..ci.token.len() - 1])]
    {
        assert_eq!(answer(wrong), unknown, "{wrong}");
    }
    ci.get("twins/t").problem(404);
    let metrics = String::from_utf8(admin.get("/metrics").expect(200).body).unwrap();
    assert!(metrics.contains("twinmesh_security_events_total{event=\"token-refused\"} 7\n"), "{metrics}");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_itself_and_whoever_has_it_hears_so() {
    let world = World::start().await;
    let admin = world.client();
    let made =
        admin.post("tokens", json!({"name": "brief", "scope": "read", "expiresInSeconds": 1})).expect(201).json();
    let brief = with_token(&admin, made["token"].as_str().unwrap());
    assert!(made["expiresAt"].is_string() && made["expired"] == false);
    let deadline = Instant::now() + Duration::from_secs(20);
    while brief.get("sites").status == 200 {
        assert!(Instant::now() < deadline, "it never ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(brief.get("sites").problem(401), "token-expired");
    // Only whoever has the secret hears so.
    assert_eq!(with_token(&admin, "twm.brief.x").get("sites").problem(401), "unauthorized");
    assert_eq!(admin.get("tokens").expect(200).json()["tokens"][1]["expired"], true);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let world = World::start().await;
    let admin = world.client();
    let watcher = made(&admin, "watcher", "read");
    let mut events = watcher.observe("events");
    admin.put("twins/t", json!({})).expect(201);
    assert_eq!(events.next().0, "created");
    admin.delete("tokens/watcher").expect(204);
    let deadline = Instant::now() + Duration::from_secs(20);
    while !events.line().is_empty() {
        assert!(Instant::now() < deadline, "the stream goes on");
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_token_that_can_make_tokens_is_not_revoked() {
    let world = World::start().await;
    let admin = world.client();
    assert_eq!(admin.delete("tokens/admin").problem(409), "last-token");
    admin.post("tokens", json!({"name": "brief", "scope": "operate", "expiresInSeconds": 1000})).expect(201);
    assert_eq!(admin.delete("tokens/admin").problem(409), "last-token", "one that ends does not count");
    let other = made(&admin, "other", "operate");
    admin.delete("tokens/admin").expect(204);
    admin.get("tokens").problem(401);
    assert_eq!(other.delete("tokens/other").problem(409), "last-token");
    world.node.shutdown().await;
}

async fn started(dir: &std::path::Path) -> Node {
    let node = Node::start(NodeOptions::local(dir)).await.unwrap();
    node.ready().await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_directory_holds_no_token_once_the_first_one_is_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let node = started(dir.path()).await;
    let first = node.admin_token().to_owned();
    let client = client_of(&node);
    let ci = made(&client, "ci", "operate");
    node.shutdown().await;
    let file = dir.path().join("admin.token");
    std::fs::remove_file(&file).unwrap();
    // Nothing of either token is in any file.
    let mut looked_at = 0;
    let mut folders = vec![dir.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let content = std::fs::read(&path).unwrap();
            looked_at += content.len();
            for secret in [first.as_str(), ci.token.rsplit('.').next().unwrap()] {
                let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!found, "{} holds a token", path.display());
            }
        }
    }
    assert!(looked_at > 10_000, "only {looked_at} bytes were looked at");
    // The node goes on without the file, takes the token as before, and does not make another.
    let node = started(dir.path()).await;
    assert!(!file.exists() && node.admin_token().is_empty());
    let mut client = client_of(&node);
    client.token = first;
    client.get("tokens").expect(200);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_put_into_the_data_directory_is_the_way_back_in_but_only_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let node = started(dir.path()).await;
    let client = client_of(&node);
    let other = made(&client, "other", "operate");
    // Revoked, but its file was forgotten: it does not come back.
    client.delete("tokens/admin").expect(204);
    node.shutdown().await;
    let node = started(dir.path()).await;
    client_of(&node).get("tokens").problem(401);
    node.shutdown().await;
    let file = dir.path().join("admin.token");
    std::fs::write(&file, "a-new-line-of-the-operators-own-making\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let node = started(dir.path()).await;
    client_of(&node).get("tokens").expect(200);
    let mut with_other = client_of(&node);
    with_other.token = other.token;
    with_other.get("tokens").expect(200);
    node.shutdown().await;
}

/// What must not come to be by a slip: every operation by its id and scope. A new one is put here by whoever makes it.
fn expected(operation: &str) -> &'static str {
    let operate = [
        "putSite",
        "deleteSite",
        "addGateway",
        "removeGateway",
        "rotateGateway",
        "endOldGatewayKey",
        "changeSiteDevices",
        "listTokens",
        "addToken",
        "revokeToken",
        "listAudit",
        "listNodes",
        "reloadCertificates",
        "backup",
    ];
    if operate.contains(&operation) {
        return "operate";
    }
    if ["get", "list", "observe", "watch", "read", "delta", "batchGet", "export"]
        .iter()
        .any(|p| operation.starts_with(p))
    {
        return "read";
    }
    "steer"
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_refuses_a_lesser_scope_and_names_the_one_it_needs() {
    let world = World::start().await;
    let admin = world.client();
    let clients: BTreeMap<&str, Client> =
        ["read", "steer", "operate"].into_iter().map(|scope| (scope, made(&admin, scope, scope))).collect();
    let lesser = |scope: &str| match scope {
        "read" => vec![],
        "steer" => vec!["read"],
        _ => vec!["read", "steer"],
    };
    let description = admin.get("/openapi.json").expect(200).json();
    let mut walked = BTreeMap::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        if !path.starts_with("/api/") {
            continue;
        }
        // The site and the twin that are asked for exist nowhere: what is let through changes nothing.
        let real = path.replace("{id}", "nowhere").replace("{name}", "x").replace("{pointer}", "x");
        for method in ["get", "put", "post", "patch", "delete"] {
            let Some(operation) = item.get(method) else { continue };
            let id = operation["operationId"].as_str().unwrap();
            let needed = operation["security"][0]["token"][0].as_str().unwrap_or_else(|| panic!("{id} names no scope"));
            assert_eq!(needed, expected(id), "{id}");
            assert!(operation["responses"]["403"].is_object(), "{id}");
            for scope in lesser(needed) {
                let refused = clients[scope].send(&method.to_uppercase(), &real, &[], None);
                assert_eq!(refused.problem(403), "insufficient-scope", "{id} by {scope}");
                assert_eq!(refused.json()["scope"], needed, "{id} by {scope}");
                let challenge = refused.header("www-authenticate").unwrap();
                assert!(challenge.contains(&format!("scope=\"{needed}\"")), "{challenge}");
            }
            // Streams would not end.
            if !path.ends_with("/events") && id != "reloadCertificates" {
                let let_through = clients[needed].send(&method.to_uppercase(), &real, &[], None);
                assert_ne!(let_through.status, 403, "{id} by {needed}");
                assert_ne!(let_through.status, 401, "{id} by {needed}");
            }
            *walked.entry(needed.to_owned()).or_insert(0) += 1;
        }
    }
    assert!(walked["read"] >= 10 && walked["steer"] >= 10 && walked["operate"] >= 10, "{walked:?}");
    world.node.shutdown().await;
}
