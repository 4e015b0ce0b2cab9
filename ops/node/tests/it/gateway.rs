//! The whole way: a gateway's SDK on one side, the REST on the other.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_method_call_with_a_key_reaches_the_device_once_and_every_repeat_hears_its_answer() {
    let store = Store::open().await;
    let label = TwinId::new("label").unwrap();
    let calls = Arc::new(AtomicU64::default());
    let counted = calls.clone();
    store.gateway.on_method("count", move |_| {
        let count = counted.fetch_add(1, Ordering::SeqCst) + 1;
        // Long enough that the repeats come while it is under way.
        async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            MethodAnswer { status: 200, payload: count.cast_signed().into() }
        }
    });
    let large = "x".repeat(4000);
    store.gateway.on_method("large", move |_| std::future::ready(MethodAnswer::new(200, large.as_str())));
    store.gateway.on_method("sleep", |_| std::future::pending::<MethodAnswer>());
    store.gateway.report(&label, &json!({"a": 1})).await.unwrap().acked().await.unwrap();
    let call = |client: &Client, name: &str, key: &str, body: Value| {
        client.json("POST", &format!("twins/label/methods/{name}"), &[("Idempotency-Key", key)], body)
    };
    let at_once: Vec<_> = (0..5)
        .map(|_| {
            let client = store.world.client();
            std::thread::spawn(move || {
                let headers = [("Idempotency-Key", "k")];
                client.json("POST", "twins/label/methods/count", &headers, json!({"payload": 7})).expect(200)
            })
        })
        .collect();
    let answers: Vec<_> = at_once.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(answers.iter().all(|answer| answer.json() == json!({"status": 200, "payload": 1})));
    let fresh = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_none()).count();
    assert_eq!((fresh, calls.load(Ordering::SeqCst)), (1, 1));
    let client = &store.client;
    let again = call(client, "count", "k", json!({"payload": 7, "timeoutSeconds": 3})).expect(200);
    assert_eq!(again.json(), json!({"status": 200, "payload": 1}));
    assert_eq!(again.header("idempotency-outcome"), answers[0].header("idempotency-outcome"));
    assert!(again.header("idempotency-outcome").unwrap().starts_with("call="));
    assert_eq!(call(client, "count", "k", json!({"payload": 8})).problem(422), "idempotency-key-reused");
    assert_eq!(call(client, "blink", "k", json!({"payload": 7})).problem(422), "idempotency-key-reused");

    assert_eq!(call(client, "large", "l", json!({})).expect(200).json()["payload"].as_str().map(str::len), Some(4000));
    let cut = json!({"status": 200, "payload": null, "payloadCut": true});
    assert_eq!(call(client, "large", "l", json!({})).expect(200).json(), cut);
    // Whether the device acted is unknown, and it is not asked again.
    assert_eq!(call(client, "sleep", "s", json!({"timeoutSeconds": 1})).problem(504), "method-timed-out");
    assert_eq!(call(client, "sleep", "s", json!({"timeoutSeconds": 1})).problem(504), "outcome-unknown");
    // What reached no device had no effect, and is looked at anew.
    assert_eq!(call(client, "later", "n", json!({})).problem(404), "method-not-found");
    store.gateway.on_method("later", |_| std::future::ready(MethodAnswer::new(200, "now")));
    assert_eq!(call(client, "later", "n", json!({})).expect(200).json()["payload"], "now");

    // The node comes back without knowing who asked; the answer is in the twin.
    let calls_before = calls.load(Ordering::SeqCst);
    let world = store.world.restart().await;
    let again = call(&world.client(), "count", "k", json!({"payload": 7})).expect(200);
    assert_eq!(again.json(), json!({"status": 200, "payload": 1}));
    assert_eq!(calls.load(Ordering::SeqCst), calls_before);
    store.gateway.shutdown().await;
    world.node.shutdown().await;
}

/// Whoever asks again is there when the answer comes, although the one who asked first has gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_with_a_key_goes_on_when_its_caller_goes() {
    let store = Store::open().await;
    let label = TwinId::new("label").unwrap();
    let (asked, mut was_asked) = tokio::sync::mpsc::unbounded_channel();
    let go = Arc::new(tokio::sync::Notify::new());
    let gate = go.clone();
    store.gateway.on_method("slow", move |_| {
        asked.send(()).unwrap();
        let gate = gate.clone();
        async move {
            gate.notified().await;
            MethodAnswer::new(200, "done")
        }
    });
    store.gateway.report(&label, &json!({"a": 1})).await.unwrap().acked().await.unwrap();
    let mut first = store.client.connect();
    let request = format!(
        "POST /api/v1/twins/label/methods/slow HTTP/1.1\r\nHost: node\r\nAuthorization: Bearer {}\r\nIdempotency-Key: k\r\n\
         Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}",
        store.client.token
    );
    first.write_all(request.as_bytes()).unwrap();
    was_asked.recv().await.unwrap();
    drop(first);
    go.notify_one();
    let headers = [("Idempotency-Key", "k")];
    let again = store.client.json("POST", "twins/label/methods/slow", &headers, json!({})).expect(200);
    assert_eq!((again.json()["payload"].as_str(), was_asked.try_recv().is_err()), (Some("done"), true));
    store.gateway.shutdown().await;
    store.world.node.shutdown().await;
}
