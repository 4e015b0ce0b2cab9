//! Sites, gateways and nodes.

use serde_json::json;
use twin_transports::auth::Credentials;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn sites_are_created_changed_and_shown() {
    let world = World::start().await;
    let client = world.client();
    let sites = client.get("sites").expect(200).json();
    assert_eq!(sites["sites"][0]["id"], "default");
    client.get("sites/store-1").problem(404);
    let made = client.put("sites/store-1", json!({"enrolment": "open"})).expect(201).json();
    assert_eq!(made["id"], "store-1");
    assert_eq!(made["enrolment"], "open");
    assert_eq!(made["gateways"], json!([]));
    assert_eq!(
        client.put("sites/store-1", json!({"enrolment": "registered"})).expect(200).json()["enrolment"],
        "registered"
    );
    assert_eq!(client.get("sites/store-1").expect(200).json()["enrolment"], "registered");
    client.put("sites/store-1", json!({"enrolment": "closed"})).problem(422);
    client.put("sites/store-1", json!({"name": "x"})).problem(422);
    client.put("sites/a%2Fb", json!({})).problem(400);
    for header in [("If-None-Match", "*"), ("If-Match", "*"), ("If-Match", "\"x\"")] {
        let refused = client.json("PUT", "sites/store-1", &[header], json!({"enrolment": "open"}));
        assert_eq!(refused.problem(400), "bad-condition", "{header:?}");
    }
    assert_eq!(client.get("sites/store-1").expect(200).json()["enrolment"], "registered");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_credentials_are_shown_once_and_revoked() {
    let world = World::start().await;
    let client = world.client();
    assert_eq!(client.post("sites/nowhere/gateways", json!({"name": "g1"})).problem(404), "site-not-found");
    let made = client.post("sites/default/gateways", json!({"name": "g1"})).expect(201);
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let credentials = Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap();
    assert_eq!(credentials.site.as_str(), "default");
    assert_eq!(credentials.name.as_str(), "g1");
    assert_eq!(credentials.ca, world.node.ca_pem());
    assert_eq!(client.post("sites/default/gateways", json!({"name": "g1"})).problem(409), "gateway-exists");
    client.post("sites/default/gateways", json!({})).problem(422);
    client.post("sites/default/gateways", json!({"name": "a b"})).problem(400);
    let gateways = client.get("sites/default").expect(200).json()["gateways"].take();
    assert_eq!(gateways[0]["name"], "g1");
    assert_eq!(gateways[0]["connected"], false);
    assert!(!gateways.to_string().contains("secret"));
    client.delete("sites/default/gateways/g1").expect(204);
    assert_eq!(client.delete("sites/default/gateways/g1").problem(404), "gateway-not-found");
    assert_eq!(client.get("sites/default").expect(200).json()["gateways"], json!([]));
    client.post("sites/default/gateways", json!({"name": "g1"})).expect(201);
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_shows_itself_and_its_groups() {
    let world = World::start().await;
    let nodes = world.client().get("nodes").expect(200).json();
    let node = &nodes["nodes"][0];
    assert_eq!(node["http"], world.node.http_url());
    assert_eq!(node["quic"], world.node.quic_addr().to_string());
    assert_eq!(node["groups"].as_array().unwrap().len(), 2);
    assert!(node["groups"].as_array().unwrap().iter().all(|group| group["leader"] == true));
    world.node.shutdown().await;
}
