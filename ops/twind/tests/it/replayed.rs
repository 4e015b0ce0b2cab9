//! What a gateway once sent, sent again: by itself, by another, by whoever listened. One effect, and the node says what it refused.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twin_core::alarm::{Alarm, Severity};
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay, WallTime};
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_gateway::Credentials;
use twin_transports::frames::batch::{EventBatch, EventMessage, StateBatch, StateMessage, WireBody, WireOp};
use twin_transports::frames::session::{Open, StreamClass};

use crate::by_hand::{ByHand, bytes_of, hello};
use crate::process::Twind;

const STAY: Stay = Stay { boot: Boot::new(1), counter: 1 };

fn label() -> TwinId {
    TwinId::new("label").unwrap()
}

fn credentials(node: &Twind, site: &str, name: &str) -> Credentials {
    assert!(node.request("PUT", &format!("sites/{site}"), Some(json!({"enrolment": "open"}))).0 < 300);
    let (status, made) = node.request("POST", &format!("sites/{site}/gateways"), Some(json!({"name": name})));
    assert_eq!(status, 201, "{made}");
    Credentials::from_json(&made.to_string()).unwrap()
}

/// What a gateway sends on its three streams: two batches of a report each, an alarm, an event.
struct Recorded {
    state: Vec<u8>,
    alarms: Vec<u8>,
    telemetry: Vec<u8>,
}

impl Recorded {
    const MESSAGES: u64 = 4;

    fn new() -> Self {
        let message = |n: u64, body| StateMessage { twin: 0, stay: STAY, first: Seq::new(n), more: 0, body };
        let report = |n: u32| message(n.into(), WireBody::Report(vec![(0, WireOp::Set(i64::from(n).into()))]));
        let path = Path::from_keys(["n"]);
        let batch = |batch, twins, paths, message| StateBatch {
            batch,
            reset: false,
            twins,
            paths,
            messages: vec![message],
            trace: None,
        };
        let (severity, raised_at) = (Severity::Major, WallTime::new(1));
        let alarm = Alarm { name: "door".into(), severity, raised_at, payload: "open".into() };
        let event =
            EventMessage { twin: 0, boot: Boot::new(1), seq: Seq::new(1), name: "button".into(), payload: true.into() };
        let events = EventBatch { batch: 1, reset: false, twins: vec![label()], messages: vec![event], trace: None };
        let on = |class, frames: Vec<Vec<u8>>| [bytes_of(Open { class }), frames.concat()].concat();
        let alarm = batch(1, vec![label()], vec![], message(1, WireBody::Alarm(Box::new(alarm))));
        let state = vec![
            bytes_of(batch(1, vec![label()], vec![path], report(1))),
            bytes_of(batch(2, vec![], vec![], report(2))),
        ];
        Self {
            state: on(StreamClass::State, state),
            alarms: on(StreamClass::Alarms, vec![bytes_of(alarm)]),
            telemetry: on(StreamClass::Telemetry, vec![bytes_of(events)]),
        }
    }

    /// Sends all of it; what the node refused of it, in this order.
    async fn send(&self, gateway: &ByHand) -> Vec<Refusal> {
        let mut refused = Vec::new();
        for (bytes, batches) in [(&self.state, 2), (&self.alarms, 1), (&self.telemetry, 1)] {
            let mut stream = gateway.stream_of(bytes).await;
            for _ in 0..batches {
                refused.extend(stream.ack().await.refused.into_iter().map(|(_, refusal)| refusal));
            }
        }
        refused
    }
}

/// All that the REST tells of the twin, but for its connection.
fn told(node: &Twind) -> (Value, Value) {
    let (status, twin) = node.request("GET", "twins/label", None);
    assert_eq!(status, 200, "{twin}");
    (twin["properties"].clone(), node.request("GET", "twins/label/alarms", None).1)
}

fn duplicates(node: &Twind) -> u64 {
    node.metric("twinmesh_messages_duplicate_total")
}

fn security_events(node: &Twind, event: &str) -> u64 {
    node.metric(&format!("twinmesh_security_events_total{{event=\"{event}\"}}"))
}

/// Looks until the audit log has a line of this kind about this target; its words.
fn logged(node: &Twind, what: &str, target: &str) -> String {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let page = node.request("GET", "audit?kind=security", None).1;
        let entries = page["entries"].as_array().unwrap();
        if let Some(entry) = entries.iter().find(|entry| entry["what"] == what && entry["target"] == target) {
            return entry["detail"].as_str().unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "no {what} of {target} in {page}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node with a twin that a gateway has reported for; the gateway's session is open.
struct Scene {
    node: Twind,
    _dir: tempfile::TempDir,
    credentials: Credentials,
    gateway: ByHand,
    /// What it sent to be let in.
    let_in: Vec<u8>,
    recorded: Recorded,
    told: (Value, Value),
}

impl Scene {
    async fn set() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = Twind::start(dir.path());
        let credentials = credentials(&node, "store", "gw");
        let (mut gateway, let_in) = ByHand::open(&node, &credentials, &hello(&credentials, 1)).await;
        gateway.attach(&label(), STAY, 0).await.unwrap();
        let recorded = Recorded::new();
        assert_eq!(recorded.send(&gateway).await, []);
        let told = told(&node);
        assert_eq!(told.0["reported"]["n"], 2, "{told:?}");
        assert_eq!(told.1["alarms"].as_array().map(Vec::len), Some(1), "{told:?}");
        assert_eq!(duplicates(&node), 0);
        Self { node, _dir: dir, credentials, gateway, let_in, recorded, told }
    }

    fn nothing_changed(&self) {
        assert_eq!(told(&self.node), self.told);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_sent_again_in_their_session_are_counted_as_duplicates_and_take_no_effect() {
    let mut scene = Scene::set().await;
    for round in 1..=3 {
        assert_eq!(scene.recorded.send(&scene.gateway).await, [], "it is told once more that they are there");
        assert_eq!(duplicates(&scene.node), round * Recorded::MESSAGES);
    }
    scene.nothing_changed();
    // On the stream that has had them, a batch cannot come twice.
    let before = scene.node.metric("twinmesh_sessions_refused_total{code=\"bad-frame\"}");
    let mut stream = scene.gateway.stream_of(&scene.recorded.alarms).await;
    assert_eq!(stream.ack().await.refused, []);
    let opened = bytes_of(Open { class: StreamClass::Alarms }).len();
    stream.send(&scene.recorded.alarms[opened..]).await;
    let refused = scene.gateway.control.refused().await;
    assert_eq!((refused.code.as_str(), refused.message.contains("batch 1 follows batch 1")), ("bad-frame", true));
    assert_eq!(scene.node.metric("twinmesh_sessions_refused_total{code=\"bad-frame\"}"), before + 1);
    scene.nothing_changed();
    assert_eq!(security_events(&scene.node, "messages-refused"), 0, "a gateway may send its own again");
    scene.node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_of_an_earlier_session_take_no_effect_in_a_later_one_nor_after_a_kill() {
    let scene = Scene::set().await;
    scene.gateway.connection.close(0_u32.into(), b"");
    let (again, _) = ByHand::open(&scene.node, &scene.credentials, &hello(&scene.credentials, 1)).await;
    assert_eq!(scene.recorded.send(&again).await, []);
    assert_eq!(duplicates(&scene.node), Recorded::MESSAGES);
    scene.nothing_changed();
    // Whoever has the credentials and the recording, but not the outbox, has attached nothing.
    let (thief, _) = ByHand::open(&scene.node, &scene.credentials, &hello(&scene.credentials, 9)).await;
    let refused = scene.recorded.send(&thief).await;
    assert_eq!(refused[..3], [Refusal::NotAttached, Refusal::NotAttached, Refusal::NotAttached], "{refused:?}");
    scene.nothing_changed();
    assert!(logged(&scene.node, "messages-refused", "store/gw").contains("attach it first"));
    let Scene { node, _dir: dir, credentials, recorded, told: before, .. } = scene;
    node.kill();
    let node = Twind::start(dir.path());
    let (again, _) = ByHand::open(&node, &credentials, &hello(&credentials, 9)).await;
    let refused = recorded.send(&again).await;
    assert_eq!(refused[..3], [Refusal::NotAttached, Refusal::NotAttached, Refusal::NotAttached], "{refused:?}");
    assert_eq!(told(&node), before);
    node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_gateways_streams_are_refused_counted_and_logged() {
    let scene = Scene::set().await;
    let node = &scene.node;
    let refused_before = node.metric("twinmesh_messages_refused_total");
    // Of the same site, without the device.
    let neighbour = credentials(node, "store", "neighbour");
    let (gateway, _) = ByHand::open(node, &neighbour, &hello(&neighbour, 2)).await;
    let refused = scene.recorded.send(&gateway).await;
    // The event is its own: those need no attach, and this gateway may speak for its site's devices.
    assert_eq!(refused, [Refusal::NotAttached, Refusal::NotAttached, Refusal::NotAttached]);
    scene.nothing_changed();
    assert!(logged(node, "messages-refused", "store/neighbour").contains("attach it first"));
    // Of another site.
    let foreign = credentials(node, "elsewhere", "gw");
    let (mut gateway, _) = ByHand::open(node, &foreign, &hello(&foreign, 3)).await;
    let refused = scene.recorded.send(&gateway).await;
    assert_eq!(refused[..3], [Refusal::NotAttached, Refusal::NotAttached, Refusal::NotAttached]);
    assert!(matches!(&refused[3..], [Refusal::OtherSite { .. }]), "{refused:?}");
    assert!(matches!(gateway.attach(&label(), STAY, 1).await, Err(Refusal::OtherSite { .. })));
    scene.nothing_changed();
    logged(node, "messages-refused", "elsewhere/gw");
    assert!(logged(node, "device-refused", "label").contains("belongs to site store"));
    assert_eq!(node.metric("twinmesh_messages_refused_total"), refused_before + 7);
    assert_eq!(security_events(node, "messages-refused"), 7, "one a batch");
    assert_eq!((security_events(node, "device-refused"), duplicates(node)), (1, 0));
    // Whose device it is goes on.
    assert_eq!(scene.recorded.send(&scene.gateway).await, []);
    scene.node.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_proof_opens_no_second_session_and_leaves_the_first() {
    let scene = Scene::set().await;
    let node = &scene.node;
    let (before, sessions) = (
        node.metric("twinmesh_sessions_refused_total{code=\"bad-credential\"}"),
        node.metric("twinmesh_quic_sessions_total"),
    );
    for round in 1..=3 {
        let mut listener = ByHand::connect(node, &scene.credentials).await;
        listener.control.send(&scene.let_in).await;
        assert_eq!(listener.control.refused().await.code, "bad-credential");
        assert_eq!(node.metric("twinmesh_sessions_refused_total{code=\"bad-credential\"}"), before + round);
    }
    assert_eq!(node.metric("twinmesh_quic_sessions_total"), sessions);
    assert_eq!(security_events(node, "credential-refused"), 3);
    logged(node, "credential-refused", "store/gw");
    assert_eq!(scene.recorded.send(&scene.gateway).await, [], "its session goes on");
    scene.nothing_changed();
    scene.node.kill();
}
