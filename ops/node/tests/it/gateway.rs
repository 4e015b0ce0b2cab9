//! The whole way: a gateway's SDK on one side, the REST on the other.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, MethodAnswer, Options};

use crate::http::Client;
use crate::world::World;

pub struct Store {
    pub world: World,
    pub client: Client,
    pub gateway: Gateway,
    _state: tempfile::TempDir,
}

impl Store {
    pub async fn open() -> Self {
        let world = World::start().await;
        let client = world.client();
        client.put("sites/store", json!({"enrolment": "open"})).expect(201);
        let made = client.post("sites/store/gateways", json!({"name": "g1"})).expect(201);
        let credentials = Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap();
        let state = tempfile::tempdir().unwrap();
        let node = world.node.quic_addr().to_string();
        let gateway = Gateway::open(Options::new(node, credentials, state.path())).unwrap();
        Self { world, client, gateway, _state: state }
    }

    /// Reads until `holds`.
    #[track_caller]
    pub fn until(&self, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let response = self.client.get(path);
            let body = response.json();
            if response.status == 200 && holds(&body) {
                return body;
            }
            assert!(Instant::now() < deadline, "{path} never came to hold: {body}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_is_read_back_and_a_desired_price_comes_back_as_applied() {
    let store = Store::open().await;
    let label = TwinId::new("label#1").unwrap();
    let mut events = store.client.observe("events?site=store");
    let receipt = store.gateway.report(&label, &json!({"battery": 90, "price": 1})).await.unwrap();
    receipt.acked().await.unwrap();
    let twin = store.client.get("twins/label%231").expect(200).json();
    assert_eq!(twin["properties"]["reported"]["battery"], 90);
    assert_eq!(twin["site"], "store");
    assert_eq!(twin["connectionState"], "Connected");
    assert!(twin["lastActivityTime"].is_string());
    assert_eq!(events.next().0, "created");

    // A stream of reports does not defeat a writer.
    let before = store.client.get("twins/label%231").expect(200);
    store.gateway.report(&label, &json!({"battery": 89})).await.unwrap().acked().await.unwrap();
    let after = store.client.get("twins/label%231").expect(200);
    assert_ne!(before.etag(), after.etag());
    let change = json!({"desired": {"price": 2}});
    store.client.json("PATCH", "twins/label%231", &[("If-Match", before.etag())], change).expect(200);

    let change = tokio::time::timeout(Duration::from_secs(20), store.gateway.desired().recv()).await.unwrap().unwrap();
    assert_eq!(change.twin, label);
    store.gateway.report(&label, &json!({"price": 2})).await.unwrap().acked().await.unwrap();
    let twin = store.until("twins/label%231", |twin| twin["convergence"]["/price"]["state"] == "applied");
    assert_eq!(twin["properties"]["reported"]["price"], 2);

    let site = store.until("sites/store", |site| site["gateways"][0]["connected"] == true);
    assert!(site["gateways"][0]["lastSeen"].is_string());
    let metrics = String::from_utf8(store.client.get("/metrics").expect(200).body).unwrap();
    assert!(metrics.contains("\ntwinmesh_gateway_sessions 1\n"), "{metrics}");
    store.gateway.shutdown().await;
    store.until("twins/label%231", |twin| twin["connectionState"] == "Disconnected");
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_answered_missing_late_or_unconnected() {
    let store = Store::open().await;
    let label = TwinId::new("label").unwrap();
    store.gateway.on_method("blink", |call| async move { MethodAnswer { status: 207, payload: call.payload } });
    store.gateway.on_method("sleep", |_| std::future::pending::<MethodAnswer>());
    store.gateway.report(&label, &json!({"a": 1})).await.unwrap().acked().await.unwrap();
    let call = |name: &str, body: Value| store.client.post(&format!("twins/label/methods/{name}"), body);
    let answer = call("blink", json!({"payload": {"times": 3}})).expect(200).json();
    assert_eq!(answer, json!({"status": 207, "payload": {"times": 3}}));
    // As deep as a body may be: it goes down and comes back, and the session is what it was.
    let deep = (1..63).fold(json!([]), |inner, _| json!([inner]));
    let body = json!({"payload": deep});
    assert_eq!(call("blink", body.clone()).expect(200).json()["payload"], body["payload"]);
    assert_eq!(call("nothing", json!({})).problem(404), "method-not-found");
    assert_eq!(call("sleep", json!({"timeoutSeconds": 1})).problem(504), "method-timed-out");
    assert_eq!(call("blink", json!({"payload": "x".repeat(40_000)})).problem(413), "too-large");

    // Revoking ends the session at once.
    store.client.delete("sites/store/gateways/g1").expect(204);
    store.until("twins/label", |twin| twin["connectionState"] == "Disconnected");
    assert_eq!(call("blink", json!({})).problem(409), "not-connected");
    store.world.node.shutdown().await;
}
