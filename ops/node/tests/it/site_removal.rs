//! Deleting sites with what hangs on them.

use serde_json::{Value, json};

use crate::batch_stream::Batch;
use crate::world::World;

fn import_of(site: &str, twins: usize) -> String {
    (0..twins).map(|n| json!({"id": format!("l-{n}"), "site": site, "desired": {"n": n}}).to_string() + "\n").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_goes_alone_only_when_nothing_hangs_on_it() {
    let world = World::start().await;
    let client = world.client();
    assert_eq!(client.delete("sites/nowhere").problem(404), "site-not-found");
    assert_eq!(client.delete("sites/default").problem(409), "site-needed");
    assert_eq!(client.delete("sites/default?cascade=true").problem(409), "site-needed");
    client.put("sites/s", json!({})).expect(201);
    client.delete("sites/s?cascade=1").problem(400);
    assert_eq!(client.send("DELETE", "sites/s", &[("If-Match", "*")], None).problem(400), "bad-condition");
    client.delete("sites/s").expect(204);
    client.get("sites/s").problem(404);

    client.put("sites/s", json!({})).expect(201);
    client.put("twins/t", json!({"site": "s"})).expect(201);
    client.post("sites/s/gateways", json!({"name": "g"})).expect(201);
    let refused = client.delete("sites/s");
    assert_eq!(refused.problem(409), "site-not-empty");
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("twins (1) and gateways (1)"), "{detail}");
    // Refused is as if it had not been asked.
    client.put("twins/u", json!({"site": "s"})).expect(201);
    assert_eq!(client.get("sites/s").expect(200).json()["deleting"], false);
    for twin in ["t", "u"] {
        client.delete(&format!("twins/{twin}")).expect(204);
    }
    assert_eq!(client.delete("sites/s").problem(409), "site-not-empty");
    client.delete("sites/s/gateways/g").expect(204);
    client.delete("sites/s").expect(204);
    assert_eq!(client.put("twins/t", json!({"site": "s"})).problem(404), "site-not-found");
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_all_that_hangs_on_it_a_site_goes_and_versions_do_not_go_back() {
    let world = World::start().await;
    let client = world.client();
    client.put("sites/s", json!({"enrolment": "open"})).expect(201);
    client.put("twins/other", json!({"desired": {"n": 1}})).expect(201);
    client.post("sites/s/gateways", json!({"name": "g"})).expect(201);
    let results = Batch::open_at(&client, "imports").exchange(import_of("s", 1_000));
    assert!(results.iter().all(|result| result["status"] == 201));
    let before: Vec<Value> =
        (0..1_000).step_by(97).map(|n| client.get(&format!("twins/l-{n}")).expect(200).json()).collect();

    client.delete("sites/s?cascade=true").expect(204);
    client.get("sites/s").problem(404);
    assert_eq!(client.delete("sites/s?cascade=true").problem(404), "site-not-found");
    assert_eq!(client.get("twins").expect(200).json()["twins"].as_array().unwrap().len(), 1, "another site's");
    client.get("twins/l-0").problem(404);

    let made = client.put("sites/s", json!({})).expect(201).json();
    assert_eq!(
        (&made["gateways"], &made["epoch"]),
        (&json!([]), &json!(2)),
        "the epoch is above that of its former life"
    );
    for before in before {
        let id = before["deviceId"].as_str().unwrap();
        let after = client.put(&format!("twins/{id}"), json!({"site": "s"})).expect(201).json();
        for number in ["version", "incarnation"] {
            assert!(after[number].as_u64() > before[number].as_u64(), "{number} of {id}: {before} {after}");
        }
        for section in ["desired", "reported"] {
            let version = |twin: &Value| twin["properties"][section]["$version"].as_u64();
            assert!(version(&after) > version(&before), "{section} of {id}");
        }
    }
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_comes_into_a_site_while_it_goes() {
    let world = World::start().await;
    let client = world.client();
    for round in 0..3 {
        client.put("sites/s", json!({"enrolment": "open"})).expect(201);
        let results = Batch::open_at(&client, "imports").exchange(import_of("s", 500));
        assert!(results.iter().all(|result| result["status"] == 201));
        // Twins that come as fast as they can, while it is deleted.
        let coming = Batch::open_at(&client, "imports");
        let (other, two) = (world.client(), world.client());
        let coming = tokio::task::spawn_blocking(move || coming.exchange(import_of("s", 5_000)));
        let deleting = tokio::task::spawn_blocking(move || other.delete("sites/s?cascade=true").expect(204));
        let twice = tokio::task::spawn_blocking(move || two.delete("sites/s?cascade=true").status);
        for result in coming.await.unwrap() {
            let code = result["code"].as_str().unwrap_or("ok");
            assert!(["ok", "site-deleting", "site-not-found"].contains(&code), "{result}");
        }
        deleting.await.unwrap();
        assert!([204, 404].contains(&twice.await.unwrap()));
        client.get("sites/s").problem(404);
        let left = client.get("twins").expect(200).json();
        assert_eq!(left["twins"], json!([]), "round {round}: what came in before it closed went with it");
    }
    world.node.shutdown().await;
}
