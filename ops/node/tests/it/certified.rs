//! Gateways with certificates of their owner's PKI, from registering one to revoking it: REST, node and SDK.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;
use twin_core::ids::TwinId;
use twin_gateway::{ClientCertificate, Credentials, Gateway, Options};

use crate::http::Client;
use crate::looks::{connected, refused, until};
use crate::pki::{Made, Pki};
use crate::world::{World, client_of, start_in};

struct Store {
    world: World,
    client: Client,
    pki: Pki,
    folder: TempDir,
}

impl Store {
    async fn open(site: Value) -> Self {
        let world = World::start().await;
        let client = world.client();
        client.put("sites/store", site).expect(201);
        Self { world, client, pki: Pki::new(), folder: tempfile::tempdir().unwrap() }
    }

    /// Registers a certificate; the text of the credentials file.
    fn register(&self, name: &str, made: &Made) -> String {
        let body = json!({"name": name, "certificate": made.certificate});
        let answer = self.client.post("sites/store/gateways", body).expect(201);
        assert!(!String::from_utf8_lossy(&answer.body).contains("secret"));
        String::from_utf8(answer.body).unwrap()
    }

    fn rotate(&self, name: &str, overlap_s: u64, made: &Made) -> String {
        let body = json!({"overlapSeconds": overlap_s, "certificate": made.certificate});
        let answer = self.client.post(&format!("sites/store/gateways/{name}/keys"), body).expect(201);
        String::from_utf8(answer.body).unwrap()
    }

    fn gateway(&self, credentials: &Credentials, state: &str) -> Gateway {
        let node = self.world.node.quic_addr().to_string();
        Gateway::open(Options::new(node, credentials.clone(), self.folder.path().join(state))).unwrap()
    }

    fn shown(&self, name: &str) -> Value {
        let site = self.client.get("sites/store").expect(200).json();
        site["gateways"].as_array().unwrap().iter().find(|gateway| gateway["name"] == name).unwrap().clone()
    }
}

fn credentials(file: &str, made: &Made) -> Credentials {
    let certificate = ClientCertificate::from_pem(&made.certificate, &made.key).unwrap();
    Credentials::from_json_with(file, certificate).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_its_own_certificate_reports_and_no_secret_was_ever_made() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let made = store.pki.make("g1");
    let file = store.register("g1", &made);
    let parsed: Value = serde_json::from_str(&file).unwrap();
    assert_eq!((&parsed["version"], &parsed["certificateFile"]), (&json!(2), &json!("g1.crt")), "{parsed}");
    // As a gateway has it: three files beside each other.
    let at = |name: &str| -> PathBuf { store.folder.path().join(name) };
    for (name, content) in [("g1.json", &file), ("g1.crt", &made.certificate), ("g1.key", &made.key)] {
        std::fs::write(at(name), content).unwrap();
    }
    let gateway = store.gateway(&Credentials::load(at("g1.json")).unwrap(), "g1");
    let label = TwinId::new("label").unwrap();
    gateway.report(&label, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    assert_eq!(store.client.get("twins/label").expect(200).json()["properties"]["reported"]["n"], 1);

    let shown = store.shown("g1");
    assert_eq!(shown["connected"], true);
    let sha256 = shown["certificateSha256"].as_str().unwrap();
    assert_eq!(sha256.len(), 64);
    assert!(shown["certificateEndsAt"].as_str().unwrap().starts_with("20"), "{shown}");
    assert_eq!(store.client.metric::<u64>("twinmesh_quic_sessions_by_certificate_total"), 1);
    let logged = store.client.get("audit?kind=changes").expect(200).json();
    assert!(logged["entries"][0]["detail"].as_str().unwrap().contains(sha256), "{logged}");
    // Beside one with a secret, whose listing has no certificate.
    store.client.post("sites/store/gateways", json!({"name": "g2"})).expect(201);
    assert_eq!(store.shown("g2")["certificateSha256"], Value::Null);
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_certificates_are_refused_by_name_counted_and_logged_with_their_keys() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let (mine, others, stranger) = (store.pki.make("g1"), store.pki.make("g2"), store.pki.make("g3"));
    let file = store.register("g1", &mine);
    store.register("g2", &others);
    for (state, shown) in [("a", &others), ("b", &stranger)] {
        let gateway = store.gateway(&credentials(&file, shown), state);
        let words = refused(&gateway, "certificate-unknown");
        assert!(words.contains("SHA-256") && words.contains("store/g1"), "{words}");
        gateway.shutdown().await;
    }
    let others_key = store.shown("g2")["certificateSha256"].as_str().unwrap().to_owned();
    let page = store.client.get("audit?kind=security").expect(200).json();
    let logged =
        page["entries"].as_array().unwrap().iter().find(|entry| entry["what"] == "credential-refused").unwrap();
    assert_eq!(logged["target"], "store/g1");
    assert!(logged["detail"].as_str().unwrap().contains(&others_key), "{logged}");
    assert!(store.client.metric::<u64>("twinmesh_security_events_total{event=\"credential-refused\"}") >= 2);
    assert!(store.client.metric::<u64>("twinmesh_sessions_refused_total{code=\"certificate-unknown\"}") >= 2);
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_too_long_is_refused_within_tls_and_the_gateway_reads_why() {
    let store = Store::open(json!({})).await;
    let mine = store.pki.make("g1");
    let file = store.register("g1", &mine);
    // With its issuer beside it, it is as good.
    let chain = Made { certificate: format!("{}{}", mine.certificate, store.pki.pem), key: mine.key.clone() };
    let gateway = store.gateway(&credentials(&file, &chain), "a");
    connected(&gateway);
    gateway.shutdown().await;
    // The SDK refuses to begin with more, and so does REST.
    let giant = format!("{}{}", mine.certificate, store.pki.pem.repeat(4));
    let error = ClientCertificate::from_pem(&giant, &mine.key).unwrap_err().to_string();
    assert!(error.contains("5 certificates, the limit is 4"), "{error}");
    let body = json!({"name": "g9", "certificate": giant});
    assert_eq!(store.client.post("sites/store/gateways", body).problem(422), "document-rule");
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_certificate_is_refused_and_changes_nothing() {
    let store = Store::open(json!({})).await;
    let made = store.pki.make("g1");
    let with_key = format!("{}{}", made.certificate, made.key);
    for (certificate, words) in [
        (json!(""), "PEM"),
        (json!(7), "string"),
        (json!(made.key), "private key"),
        (json!(with_key), "private key"),
        (json!("x".repeat(70_000)), "limit"),
    ] {
        let answer = store.client.post("sites/store/gateways", json!({"name": "g1", "certificate": certificate}));
        assert_eq!(answer.status, 422);
        let text = answer.json().to_string();
        assert!(text.contains(words) && text.contains("/certificate"), "{text}");
    }
    assert_eq!(store.client.get("sites/store").expect(200).json()["gateways"], json!([]));
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_secrets_take_each_others_place_with_overlap_and_a_renewed_one_needs_no_word() {
    let store = Store::open(json!({"enrolment": "open"})).await;
    let label = TwinId::new("label").unwrap();
    let key = KeyPair::generate().unwrap();
    let first = store.pki.make_for(&key, "g1", Duration::from_secs(3600));
    let file = store.register("g1", &first);
    let gateway = store.gateway(&credentials(&file, &first), "g1");
    connected(&gateway);
    gateway.shutdown().await;
    // Renewed for its key: as good without a word to the node.
    let renewed = store.pki.make_for(&key, "g1", Duration::from_secs(7200));
    let gateway = store.gateway(&credentials(&file, &renewed), "g1");
    let session = connected(&gateway).session;
    // Said nevertheless, it changes nothing.
    store.rotate("g1", 10, &renewed);
    assert_eq!(store.shown("g1")["oldKeyUntil"], Value::Null);
    // A new key: both work.
    let second = store.pki.make("g1");
    let file = store.rotate("g1", 10_000, &second);
    assert!(store.shown("g1")["oldKeyUntil"].is_string());
    gateway.report(&label, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    assert_eq!(gateway.status().session, session, "the session goes on");
    gateway.shutdown().await;
    let gateway = store.gateway(&credentials(&file, &second), "g1");
    connected(&gateway);
    gateway.shutdown().await;
    let gateway = store.gateway(&credentials(&file, &first), "g1");
    connected(&gateway);
    // The operator ends the old one: its session, and what comes after it.
    store.client.delete("sites/store/gateways/g1/keys/old").expect(204);
    until(|| gateway.status(), |status| !status.connected);
    gateway.shutdown().await;
    let gateway = store.gateway(&credentials(&file, &first), "g1");
    refused(&gateway, "certificate-unknown");
    gateway.shutdown().await;
    // Back to a secret, and the certificate ends by itself.
    let answer = store.client.post("sites/store/gateways/g1/keys", json!({"overlapSeconds": 2})).expect(201);
    assert_eq!(store.shown("g1")["certificateSha256"], Value::Null);
    let secret = Credentials::from_json(std::str::from_utf8(&answer.body).unwrap()).unwrap();
    let by_certificate = store.gateway(&credentials(&file, &second), "g1");
    until(|| by_certificate.status(), |status| status.refusal.is_some());
    by_certificate.shutdown().await;
    let gateway = store.gateway(&secret, "g1");
    connected(&gateway);
    gateway.report(&label, &json!({"n": 2})).await.unwrap().acked().await.unwrap();
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_ends_by_the_nodes_clock_and_its_session_with_it() {
    let store = Store::open(json!({})).await;
    let key = KeyPair::generate().unwrap();
    let file = store.register("g1", &store.pki.make_for(&key, "g1", Duration::from_secs(3600)));
    let ended = store.pki.make_for(&key, "g1", Duration::ZERO);
    let gateway = store.gateway(&credentials(&file, &ended), "g1");
    let words = refused(&gateway, "certificate-expired");
    assert!(words.contains("renew"), "{words}");
    gateway.shutdown().await;
    let short = store.pki.make_for(&key, "g1", Duration::from_secs(4));
    let gateway = store.gateway(&credentials(&file, &short), "g1");
    connected(&gateway);
    let ended = until(|| gateway.status(), |status| !status.connected);
    // Said as the session ended, or at the next hello.
    until(|| gateway.status(), |status| matches!(&status.refusal, Some((code, _)) if code == "certificate-expired"));
    drop(ended);
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}

/// Nobody could connect with it: better told where it is registered than found out in the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_has_ended_is_not_registered_and_one_that_has_not_begun_is() {
    let store = Store::open(json!({})).await;
    let ended = store.pki.make_for(&KeyPair::generate().unwrap(), "g1", Duration::ZERO);
    let refused = |path: &str, body: Value| {
        let answer = store.client.post(path, body);
        answer.problem(422);
        let told = answer.json();
        assert_eq!(
            (&told["rule"], &told["pointer"]),
            (&json!("certificate-expired"), &json!("/certificate")),
            "{told}"
        );
        assert!(told["detail"].as_str().unwrap().contains("this node's clock says"), "{told}");
    };
    refused("sites/store/gateways", json!({"name": "g1", "certificate": ended.certificate}));
    assert_eq!(store.client.get("sites/store").expect(200).json()["gateways"], json!([]));
    store.register("g1", &store.pki.make("g1"));
    refused("sites/store/gateways/g1/keys", json!({"certificate": ended.certificate}));
    // From next week on: the clock of the store may be there already.
    let made = store.pki.make_ahead("g2", Duration::from_secs(7 * 24 * 3600));
    let gateway = store.gateway(&credentials(&store.register("g2", &made), &made), "g2");
    connected(&gateway);
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_file_that_is_replaced_is_shown_from_the_next_connection_on() {
    let store = Store::open(json!({})).await;
    let first = store.pki.make("g1");
    let file = store.register("g1", &first);
    let at = |name: &str| -> PathBuf { store.folder.path().join(name) };
    let put = |made: &Made| {
        std::fs::write(at("g1.crt"), &made.certificate).unwrap();
        std::fs::write(at("g1.key"), &made.key).unwrap();
    };
    std::fs::write(at("g1.json"), &file).unwrap();
    put(&first);
    let gateway = store.gateway(&Credentials::load(at("g1.json")).unwrap(), "g1");
    let session = connected(&gateway).session;
    let second = store.pki.make("g1");
    store.rotate("g1", 10_000, &second);
    put(&second);
    // What the first was good for ends, and nobody starts the gateway again.
    store.client.delete("sites/store/gateways/g1/keys/old").expect(204);
    until(|| gateway.status(), |status| status.connected && status.session != session);
    gateway.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_gateways_session_ends_at_once_and_a_second_one_is_denied_by_policy() {
    let store = Store::open(json!({"credentialConflict": "deny-new"})).await;
    let made = store.pki.make("g1");
    let file = store.register("g1", &made);
    let credentials = credentials(&file, &made);
    let owner = store.gateway(&credentials, "owner");
    connected(&owner);
    let thief = store.gateway(&credentials, "thief");
    refused(&thief, "credential-in-use");
    thief.shutdown().await;
    assert!(owner.status().connected);
    store.client.put("sites/store", json!({"credentialConflict": "replace"})).expect(200);
    let newer = store.gateway(&credentials, "newer");
    connected(&newer);
    refused(&owner, "replaced");
    owner.shutdown().await;
    let begun = Instant::now();
    store.client.delete("sites/store/gateways/g1").expect(204);
    let ended = until(|| newer.status(), |status| !status.connected);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(ended.refusal.unwrap().0, "revoked");
    newer.shutdown().await;
    let again = store.gateway(&credentials, "newer");
    refused(&again, "certificate-unknown");
    again.shutdown().await;
    store.world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registered_certificates_survive_a_restart_of_the_node() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let made = Pki::new().make("g1");
    let node = start_in(dir.path()).await;
    let client = client_of(&node);
    client.put("sites/store", json!({"enrolment": "open"})).expect(201);
    let body = json!({"name": "g1", "certificate": made.certificate});
    let file = String::from_utf8(client.post("sites/store/gateways", body).expect(201).body).unwrap();
    node.shutdown().await;
    let node = start_in(dir.path()).await;
    let certificate = ClientCertificate::from_pem(&made.certificate, &made.key).unwrap();
    let credentials = Credentials::from_json_with(&file, certificate).unwrap();
    let open = |state: &Path| Gateway::open(Options::new(node.quic_addr().to_string(), credentials.clone(), state));
    let gateway = open(state.path()).unwrap();
    let label = TwinId::new("label").unwrap();
    gateway.report(&label, &json!({"n": 1})).await.unwrap().acked().await.unwrap();
    gateway.shutdown().await;
    node.shutdown().await;
}
