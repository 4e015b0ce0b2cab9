//! Changes that are answered once the device has followed.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::path::Path;

use crate::gateway::Store;
use crate::http::{Client, Response};
use crate::world::World;

const DEADLINE: Duration = Duration::from_secs(20);

/// Sends a patch that waits, on a thread of its own.
fn patch(client: &Client, query: &str, body: Value) -> JoinHandle<Response> {
    let (client, path) = (Client { addr: client.addr, token: client.token.clone() }, format!("twins/label?{query}"));
    std::thread::spawn(move || client.patch(&path, body))
}

fn outcome(response: &Response) -> &str {
    response.header("wait-outcome").unwrap_or("none")
}

/// The gateway takes what comes down, up to this version.
async fn take_up_to(store: &Store, version: u64) {
    let taken = async { while store.gateway.desired().recv().await.unwrap().version < Version::new(version) {} };
    tokio::time::timeout(DEADLINE, taken).await.unwrap();
}

async fn with_label() -> (Store, TwinId) {
    let store = Store::open().await;
    let label = TwinId::new("label").unwrap();
    store.gateway.report(&label, &json!({"battery": 90})).await.unwrap().acked().await.unwrap();
    (store, label)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_answered_when_its_gateway_has_it_and_when_the_device_follows_by_word_or_by_deed() {
    let (store, label) = with_label().await;
    let delivered = patch(&store.client, "wait=delivered", json!({"desired": {"price": 1}}));
    take_up_to(&store, 2).await;
    let answer = delivered.join().unwrap().expect(200);
    assert_eq!(
        (outcome(&answer), &answer.json()["convergence"]["/price"]["state"]),
        ("delivered", &json!("delivered"))
    );

    // By what it reports, with other things reported before.
    let applied = patch(&store.client, "wait=applied", json!({"desired": {"price": 2}}));
    take_up_to(&store, 3).await;
    for battery in 80..85 {
        store.gateway.report(&label, &json!({"battery": battery})).await.unwrap().acked().await.unwrap();
    }
    assert!(!applied.is_finished());
    store.gateway.report(&label, &json!({"price": 2})).await.unwrap().acked().await.unwrap();
    let answer = applied.join().unwrap().expect(200);
    assert_eq!((outcome(&answer), &answer.json()["convergence"]["/price"]["state"]), ("applied", &json!("applied")));

    // By its word, also for a removal, which nothing shows.
    let applied = patch(&store.client, "wait=applied", json!({"desired": {"price": null}}));
    take_up_to(&store, 4).await;
    store.gateway.ack_desired(&label, Version::new(4)).await.unwrap().acked().await.unwrap();
    assert_eq!(outcome(&applied.join().unwrap().expect(200)), "applied");

    // What is so already is answered at once; also the repeat of a change.
    let headers = [("Idempotency-Key", "k")];
    let path = "twins/label?wait=applied&timeout=120";
    let first = store.client.json("PATCH", path, &headers, json!({"desired": {}})).expect(200);
    let again = store.client.json("PATCH", path, &headers, json!({"desired": {}})).expect(200);
    assert_eq!((outcome(&first), outcome(&again)), ("applied", "applied"));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    store.gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejection_ends_the_wait_and_is_told() {
    let (store, label) = with_label().await;
    let waits = patch(&store.client, "wait=applied", json!({"desired": {"price": -1}}));
    take_up_to(&store, 2).await;
    let price = Path::from_keys(["price"]);
    let receipt = store.gateway.reject_desired(&label, &price, Version::new(2), "negative").await.unwrap();
    receipt.acked().await.unwrap();
    let answer = waits.join().unwrap().expect(200);
    assert_eq!(outcome(&answer), "rejected");
    assert_eq!(answer.json()["convergence"]["/price"]["reason"], "negative");
    store.gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_ends_at_its_timeout_with_another_value_and_with_the_twin() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/label", json!({})).expect(201);
    let begun = Instant::now();
    let late = client.patch("twins/label?wait=delivered&timeout=1", json!({"desired": {"price": 1}})).expect(202);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!((outcome(&late), &late.json()["convergence"]["/price"]["state"]), ("pending", &json!("pending")));

    let waits = patch(&client, "wait=applied", json!({"desired": {"price": 2}}));
    until_desired(&client, 2);
    client.patch("twins/label", json!({"desired": {"price": 3}})).expect(200);
    assert_eq!(outcome(&waits.join().unwrap().expect(200)), "superseded");

    let waits = patch(&client, "wait=applied", json!({"desired": {"price": 4}}));
    until_desired(&client, 4);
    client.delete("twins/label").expect(204);
    assert_eq!(waits.join().unwrap().problem(410), "twin-deleted");

    let created = client.put("twins/other?wait=applied&timeout=1", json!({"desired": {"price": 1}})).expect(202);
    assert_eq!(outcome(&created), "pending");
    for query in ["wait=soon", "timeout=3", "wait=applied&timeout=0", "wait=applied&timeout=121"] {
        client.patch(&format!("twins/other?{query}"), json!({})).problem(400);
    }
    // Who waits does not hold up a node that stops.
    client.put("twins/label", json!({})).expect(201);
    let waits = patch(&client, "wait=applied&timeout=120", json!({"desired": {"price": 5}}));
    until_desired(&client, 5);
    world.node.shutdown().await;
    assert_eq!(outcome(&waits.join().unwrap().expect(202)), "pending");
}

fn until_desired(client: &Client, price: u64) {
    let deadline = Instant::now() + DEADLINE;
    while client.get("twins/label/desired/price").json() != price {
        assert!(Instant::now() < deadline);
    }
}
