//! Gateways' credentials under attack: replaced, used twice, and devices beyond a list.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Status, TwinLink};

use crate::http::Client;
use crate::looks::{connected, until};
use crate::world::World;

struct Store {
    world: World,
    client: Client,
    credentials: Credentials,
    state: TempDir,
}

impl Store {
    async fn open(site: Value) -> Self {
        let world = World::start().await;
        let client = world.client();
        client.put("sites/store", site).expect(201);
        let made = client.post("sites/store/gateways", json!({"name": "g1"})).expect(201);
        let credentials = Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap();
        Self { world, client, credentials, state: tempfile::tempdir().unwrap() }
    }

    fn gateway(&self, credentials: &Credentials, state: &Path) -> Gateway {
        let node = self.world.node.quic_addr().to_string();
        Gateway::open(Options::new(node, credentials.clone(), state)).unwrap()
    }

    /// New credentials; the old ones work so long.
    fn rotate(&self, overlap_s: u64) -> Credentials {
        let made = self.client.post("sites/store/gateways/g1/keys", json!({"overlapSeconds": overlap_s})).expect(201);
        assert_eq!(made.header("cache-control"), Some("no-store"));
        Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap()
    }

    fn security(&self, what: &str) -> Vec<Value> {
        let page = self.client.get("audit?kind=security").expect(200).json();
        page["entries"].as_array().unwrap().iter().filter(|entry| entry["what"] == what).cloned().collect()
    }

    fn counted(&self, event: &str) -> u64 {
        let text = String::from_utf8(self.client.get("/metrics").expect(200).body).unwrap();
        let sample = format!("twinmesh_security_events_total{{event=\"{event}\"}} ");
        text.lines().find_map(|line| line.strip_prefix(sample.as_str())).unwrap().parse().unwrap()
    }
}

fn refusal(status: &Status) -> &str {
    status.refusal.as_ref().map_or("", |(code, _)| code)
}

fn notice(status: &Status) -> &str {
    status.notice.as_ref().map_or("", |(code, _)| code)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_gets_new_credentials_while_the_old_ones_work_on_until_they_are_ended() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let label = TwinId::new("label").unwrap();
    let old = store.gateway(&store.credentials, store.state.path());
    connected(&old);
    let session = old.status().session;
    let new = store.rotate(10_000);
    assert_ne!(new.identity, store.credentials.identity);
    old.report(&label, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    assert_eq!(old.status().session, session, "the session goes on");
    let shown = store.client.get("sites/store").expect(200).json()["gateways"][0].take();
    assert!(shown["oldKeyUntil"].is_string(), "{shown}");
    // Both work, one after the other, for the same outbox.
    old.shutdown().await;
    let again = store.gateway(&store.credentials, store.state.path());
    connected(&again);
    // The operator has seen enough.
    store.client.delete("sites/store/gateways/g1/keys/old").expect(204);
    let ended = until(|| again.status(), |status| !status.connected && status.refusal.is_some());
    assert!(["revoked", "bad-credential"].contains(&refusal(&ended)), "{ended:?}");
    until(|| again.status(), |status| refusal(status) == "bad-credential" || refusal(status) == "revoked");
    again.shutdown().await;
    let replaced = store.gateway(&new, store.state.path());
    connected(&replaced);
    replaced.report(&label, &json!({"n": 2})).await.unwrap().acked().await.unwrap();
    assert_eq!(store.client.get("twins/label").expect(200).json()["properties"]["reported"]["n"], 2);
    store.client.delete("sites/store/gateways/g1/keys/old").expect(204);
    assert!(replaced.status().connected);
    assert_eq!(store.client.post("sites/store/gateways/nobody/keys", json!({})).problem(404), "gateway-not-found");
    store.client.post("sites/store/gateways/g1/keys", json!({"overlapSeconds": -1})).problem(422);
    replaced.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_credentials_end_by_themselves_and_their_session_with_them() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let old = store.gateway(&store.credentials, store.state.path());
    connected(&old);
    let new = store.rotate(2);
    connected(&old);
    let ended = until(|| old.status(), |status| !status.connected && status.refusal.is_some());
    assert!(["revoked", "bad-credential"].contains(&refusal(&ended)), "{ended:?}");
    old.shutdown().await;
    let replaced = store.gateway(&new, store.state.path());
    connected(&replaced);
    // A second rotation ends the first key's successor only when its own time is over, and what was before that at once.
    let newest = store.rotate(10_000);
    connected(&replaced);
    let after = store.rotate(0);
    until(|| replaced.status(), |status| !status.connected);
    replaced.shutdown().await;
    let state = tempfile::tempdir().unwrap();
    let lost = store.gateway(&newest, state.path());
    until(|| lost.status(), |status| refusal(status) == "bad-credential");
    lost.shutdown().await;
    let last = store.gateway(&after, store.state.path());
    connected(&last);
    last.shutdown().await;
    assert!(store.counted("credential-refused") >= 1);
    store.world.node.shutdown().await;
}

/// The session is closed in the middle of reports; what the gateway has taken comes with the new credentials on the same disk.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_or_doubled_across_the_end_of_old_credentials() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let label = TwinId::new("label").unwrap();
    let old = store.gateway(&store.credentials, store.state.path());
    connected(&old);
    let new = store.rotate(1);
    let (mut last, mut after_end) = (0_u64, 0);
    let begun = Instant::now();
    while after_end < 20 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", old.status());
        last += 1;
        // It counts what it was told, so that one that came twice or never is seen.
        old.report(&label, &json!({"n": last, "by": {format!("k{}", last % 500): last}})).await.unwrap();
        after_end += u32::from(!old.status().connected);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_ne!(
        store.client.get("twins/label").expect(200).json()["properties"]["reported"]["n"],
        last,
        "the session ended"
    );
    old.shutdown().await;
    let replaced = store.gateway(&new, store.state.path());
    replaced.drained().await.unwrap();
    let reported = store.client.get("twins/label").expect(200).json()["properties"]["reported"].take();
    assert_eq!(reported["n"], last);
    for n in (1..=last).rev().take(500) {
        assert_eq!(reported["by"][format!("k{}", n % 500)], n);
    }
    assert!(replaced.dead_letters().is_empty());
    assert!(reported["$version"].as_u64() <= Some(last + 1), "no report took effect twice: {}", reported["$version"]);
    replaced.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_used_twice_replaces_and_both_sides_hear_of_it() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let owner = store.gateway(&store.credentials, store.state.path());
    connected(&owner);
    let elsewhere = tempfile::tempdir().unwrap();
    let thief = store.gateway(&store.credentials, elsewhere.path());
    let pushed_out = until(|| owner.status(), |status| refusal(status) == "replaced");
    assert!(!pushed_out.connected);
    until(|| thief.status(), |status| notice(status) == "credential-conflict");
    let logged = until(|| store.security("credential-conflict"), |logged| !logged.is_empty());
    assert_eq!(logged[0]["target"], "store/g1");
    assert!(logged.last().unwrap()["detail"].as_str().unwrap().contains("closed"), "{logged:?}");
    assert!(store.counted("credential-conflict") >= 1);
    thief.shutdown().await;
    owner.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_policy_denies_a_second_one_it_is_refused_and_the_first_goes_on() {
    let store = Store::open(json!({"enrolment": "open", "credentialConflict": "deny-new"})).await;
    let label = TwinId::new("label").unwrap();
    let owner = store.gateway(&store.credentials, store.state.path());
    let session = connected(&owner).session;
    let elsewhere = tempfile::tempdir().unwrap();
    let thief = store.gateway(&store.credentials, elsewhere.path());
    let denied = until(|| thief.status(), |status| refusal(status) == "credential-in-use");
    assert!(!denied.connected);
    let told = until(|| owner.status(), |status| notice(status) == "credential-conflict");
    assert_eq!((told.connected, told.session), (true, session));
    owner.report(&label, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    let logged = until(|| store.security("credential-conflict"), |logged| !logged.is_empty());
    assert!(logged.last().unwrap()["detail"].as_str().unwrap().contains("refused"), "{logged:?}");
    // Its own outbox was not retired by the stranger, and its own reconnect is let in at once.
    thief.shutdown().await;
    owner.shutdown().await;
    let again = store.gateway(&store.credentials, store.state.path());
    let begun = Instant::now();
    let back = connected(&again);
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(back.outbox, told.outbox);
    again.report(&label, &json!({"n": 2})).await.unwrap().acked().await.unwrap();
    again.shutdown().await;
    // The policy stays as it was where a change does not name it.
    store.client.put("sites/store", json!({"enrolment": "registered"})).expect(200);
    let site = store.client.get("sites/store").expect(200).json();
    assert_eq!((&site["credentialConflict"], &site["enrolment"]), (&json!("deny-new"), &json!("registered")));
    store.client.put("sites/store", json!({"credentialConflict": "often"})).problem(422);
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_beyond_the_sites_list_is_refused_counted_and_logged() {
    let store = Store::open(json!({"enrolment": "list"})).await;
    let devices = "sites/store/devices";
    let changed = store.client.post(devices, json!({"add": ["a", "b", "c", "a"]})).expect(200).json();
    assert_eq!(changed, json!({"added": 3, "removed": 0, "total": 3}));
    let changed = store.client.post(devices, json!({"add": ["a"], "remove": ["c", "d"]})).expect(200).json();
    assert_eq!(changed, json!({"added": 0, "removed": 1, "total": 2}));
    let page = store.client.get("sites/store/devices?limit=1").expect(200).json();
    assert_eq!(page, json!({"devices": ["a"], "next": "a"}));
    let page = store.client.get("sites/store/devices?limit=1&after=a").expect(200).json();
    assert_eq!(page, json!({"devices": ["b"], "next": null}));
    assert_eq!(store.client.get("sites/nowhere/devices").problem(404), "site-not-found");
    assert_eq!(store.client.post(devices, json!({"add": ["a b"]})).problem(400), "bad-id");
    assert_eq!(store.client.post(devices, json!({"add": ["x"], "remove": ["x"]})).problem(400), "invalid");

    let gateway = store.gateway(&store.credentials, store.state.path());
    let (listed, beyond) = (TwinId::new("a").unwrap(), TwinId::new("made-up").unwrap());
    gateway.report(&listed, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    gateway.report(&beyond, &json!({"n": 1})).await.unwrap();
    until(|| gateway.link(&beyond), |link| *link == TwinLink::NotRegistered);
    let logged = until(|| store.security("device-refused"), |logged| !logged.is_empty());
    assert_eq!(logged[0]["target"], "made-up");
    assert!(store.counted("device-refused") >= 1);
    store.client.get("twins/a").expect(200);
    store.client.get("twins/made-up").problem(404);
    // Put on the list it comes in by itself.
    store.client.post(devices, json!({"add": ["made-up"]})).expect(200);
    until(|| store.client.get("twins/made-up").status, |status| *status == 200);
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}
