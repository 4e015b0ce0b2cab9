//! Gateways that nobody starts again: what they prove themselves by is replaced in its files while they run.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::json;
use tempfile::TempDir;
use twin_gateway::{Credentials, Gateway, Options};

use crate::http::Client;
use crate::looks::{connected, refused, until};
use crate::pki::{Made, Pki};
use crate::world::World;

/// Far below the minute that a gateway waits after such a refusal.
const SOON: Duration = Duration::from_secs(10);

struct Store {
    world: World,
    client: Client,
    pki: Pki,
    folder: TempDir,
}

impl Store {
    async fn open() -> Self {
        let world = World::start().await;
        let client = world.client();
        client.put("sites/store", json!({})).expect(201);
        Self { world, client, pki: Pki::new(), folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Certificate and key, as a gateway has them.
    fn put(&self, made: &Made) {
        std::fs::write(self.at("g1.crt"), &made.certificate).unwrap();
        std::fs::write(self.at("g1.key"), &made.key).unwrap();
    }

    /// Makes or replaces credentials, and their file.
    fn post(&self, path: &str, body: serde_json::Value) {
        let file = self.client.post(path, body).expect(201).body;
        std::fs::write(self.at("g1.json"), file).unwrap();
    }

    fn gateway(&self) -> Gateway {
        let node = self.world.node.quic_addr().to_string();
        let credentials = Credentials::load(self.at("g1.json")).unwrap();
        Gateway::open(Options::new(node, credentials, self.at("outbox"))).unwrap()
    }

    async fn close(self, gateway: Gateway) {
        gateway.shutdown().await;
        self.world.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_was_renewed_before_its_end_is_shown_as_soon_as_the_session_ends() {
    let store = Store::open().await;
    let key = KeyPair::generate().unwrap();
    let life = Duration::from_secs(5);
    let first = store.pki.make_for(&key, "g1", life);
    let begun = Instant::now();
    store.post("sites/store/gateways", json!({"name": "g1", "certificate": first.certificate}));
    store.put(&first);
    let gateway = store.gateway();
    let session = connected(&gateway).session;
    store.put(&store.pki.make_for(&key, "g1", Duration::from_secs(3600)));
    until(|| gateway.status(), |status| status.connected && status.session != session);
    assert!(begun.elapsed() < life + SOON, "{:?}", begun.elapsed());
    store.close(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_after_its_end_is_shown_in_the_pause_after_the_refusal() {
    let store = Store::open().await;
    let key = KeyPair::generate().unwrap();
    let hour = Duration::from_secs(3600);
    store.post(
        "sites/store/gateways",
        json!({"name": "g1", "certificate": store.pki.make_for(&key, "g1", hour).certificate}),
    );
    // For the same key, which is what is registered.
    store.put(&store.pki.make_for(&key, "g1", Duration::ZERO));
    let gateway = store.gateway();
    refused(&gateway, "certificate-expired");
    let begun = Instant::now();
    store.put(&store.pki.make_for(&key, "g1", hour));
    connected(&gateway);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // Another key, with no overlap: the session ends, and the files come some time later.
    let other = store.pki.make("g1");
    let body = json!({"overlapSeconds": 0, "certificate": other.certificate});
    store.post("sites/store/gateways/g1/keys", body);
    until(|| gateway.status(), |status| !status.connected && status.refusal.is_some());
    let begun = Instant::now();
    store.put(&other);
    connected(&gateway);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    store.close(gateway).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_replaced_in_its_file_is_used_at_once() {
    let store = Store::open().await;
    store.post("sites/store/gateways", json!({"name": "g1"}));
    let gateway = store.gateway();
    connected(&gateway);
    let body = json!({"overlapSeconds": 0});
    let file = store.client.post("sites/store/gateways/g1/keys", body).expect(201).body;
    until(|| gateway.status(), |status| !status.connected && status.refusal.is_some());
    let begun = Instant::now();
    std::fs::write(store.at("g1.json"), file).unwrap();
    connected(&gateway);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    // And over to a certificate, whose files are there before the credentials name them.
    let made = store.pki.make("g1");
    store.put(&made);
    let session = gateway.status().session;
    let body = json!({"overlapSeconds": 0, "certificate": made.certificate});
    let begun = Instant::now();
    store.post("sites/store/gateways/g1/keys", body);
    until(|| gateway.status(), |status| status.connected && status.session != session);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    store.close(gateway).await;
}
