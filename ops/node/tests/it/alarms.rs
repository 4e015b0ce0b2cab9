//! Alarms, the whole way: past a node and an outbox that are full of state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use twin_core::ids::TwinId;
use twin_core::value::Value;
use twin_gateway::limits::OUTBOX_BYTES_MIN;
use twin_gateway::{Credentials, Gateway, Options, Report, ReportError, Severity};
use twin_node::{Node, NodeOptions};

use crate::http::Client;
use crate::looks::until;
use crate::world::client_of;

/// Far below what one gateway has under way: a batch of reports is always more than what is left.
const TINY_BUDGET_BYTES: usize = 64 * 1024;

struct Full {
    node: Node,
    client: Client,
    gateway: Gateway,
    dir: tempfile::TempDir,
}

impl Full {
    /// A node with next to no budget, and a gateway with the smallest outbox.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::local(dir.path().join("data"));
        options.cluster.admitted_bytes_max = TINY_BUDGET_BYTES;
        let node = Node::start(options).await.unwrap();
        node.ready().await;
        let client = client_of(&node);
        client.put("sites/store", json!({"enrolment": "open"})).expect(201);
        let made = client.post("sites/store/gateways", json!({"name": "g1"})).expect(201);
        let credentials = Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap();
        let mut options = Options::new(node.quic_addr().to_string(), credentials, dir.path().join("outbox"));
        options.outbox_bytes_max = OUTBOX_BYTES_MIN;
        options.coalesce = false;
        let gateway = Gateway::open(options).unwrap();
        Self { node, client, gateway, dir }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_and_a_full_outbox_still_take_alarms_soon() {
    let full = Full::start().await;
    let freezer = TwinId::new("freezer").unwrap();
    full.gateway.report(&freezer, &json!({"a": 1})).await.unwrap().acked().await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let refused = Arc::new(AtomicU64::new(0));
    let flood = {
        let (gateway, stop, refused) = (full.gateway.clone(), stop.clone(), refused.clone());
        tokio::spawn(async move {
            let mut n = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                let reports = (0..200).map(|_| {
                    n += 1;
                    let twin = TwinId::new(&format!("label-{}", n % 500)).unwrap();
                    let patch = json!({"n": n, "text": "x".repeat(200)});
                    Report::new(twin, serde_json::from_value::<Value>(patch).unwrap())
                });
                let reports = reports.collect();
                match gateway.report_all(reports).await {
                    Ok(_) => {}
                    Err(ReportError::Append(_)) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::task::yield_now().await;
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        })
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while refused.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline, "the outbox never filled");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let mut events = full.client.observe("events?site=store&prefix=freezer");
    let before = refused.load(Ordering::Relaxed);
    let mut slowest = Duration::ZERO;
    for n in 1..=20 {
        let raised = Instant::now();
        let payload = json!({"celsius": n});
        let receipt = full.gateway.alarm(&freezer, "too-warm", Severity::Critical, &payload).await.unwrap();
        receipt.acked().await.unwrap();
        slowest = slowest.max(raised.elapsed());
    }
    assert!(refused.load(Ordering::Relaxed) > before, "the outbox was full of reports meanwhile");
    // On a quiet machine it is some milliseconds; what matters is that it is no backlog's time.
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
    assert_eq!(full.client.metric::<u64>("twinmesh_alarms_busy_total"), 0);
    assert!(full.client.metric::<u64>("twinmesh_alarms_total") >= 20);

    // Observers heard each once, in order; and again from where they were cut off.
    let mut fifth = String::new();
    for n in 1..=20 {
        let (kind, data) = events.next();
        assert_eq!((kind.as_str(), &data["number"], &data["payload"]["celsius"]), ("alarm", &json!(n), &json!(n)));
        assert_eq!(
            (&data["severity"], &data["name"], &data["gateway"]),
            (&json!("critical"), &json!("too-warm"), &json!("g1"))
        );
        if n == 5 {
            fifth = events.id.clone();
        }
    }
    let mut again = full.client.observe_after("events?prefix=freezer", &fifth);
    assert_eq!(again.next().1["number"], 6);

    // They can be read, and are no part of the document.
    // A reading is refused while the node is full, with a time to try again.
    let read = |path: &str| until(|| full.client.get(path), |answer| answer.status != 429);
    let document = || {
        let mut twin = read("twins/freezer").expect(200).json();
        twin.as_object_mut().unwrap().remove("lastActivityTime").expect("the device was heard");
        twin
    };
    let before = document();
    full.gateway.alarm(&freezer, "door", Severity::Info, &json!(null)).await.unwrap().acked().await.unwrap();
    let alarms = read("twins/freezer/alarms").expect(200).json();
    let alarms = alarms["alarms"].as_array().unwrap();
    assert_eq!((alarms.len(), &alarms[0]["number"], &alarms[15]["name"]), (16, &json!(6), &json!("door")));
    assert!(alarms[15]["raisedAt"].is_string() && alarms[15]["at"].is_string());
    assert_eq!(document(), before);
    assert_eq!(read("twins/nothing/alarms").problem(404), "twin-not-found");

    stop.store(true, Ordering::Relaxed);
    flood.await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), full.gateway.drained()).await.expect("everything goes").unwrap();
    let status = full.gateway.status();
    assert_eq!((status.backlog_messages, status.dead_letters, status.backlog_alarms), (0, 0, 0));
    full.gateway.shutdown().await;
    full.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn alarms_survive_a_restart_of_the_node_and_are_gone_with_the_twin() {
    let mut full = Full::start().await;
    let door = TwinId::new("door").unwrap();
    full.gateway.alarm(&door, "open", Severity::Warning, &json!({"s": 30})).await.unwrap().acked().await.unwrap();
    full.node.shutdown().await;
    full.node = Node::start(NodeOptions::local(full.dir.path().join("data"))).await.unwrap();
    full.node.ready().await;
    full.client = client_of(&full.node);
    let alarms = full.client.get("twins/door/alarms").expect(200).json();
    assert_eq!((&alarms["alarms"][0]["name"], &alarms["alarms"][0]["payload"]["s"]), (&json!("open"), &json!(30)));
    full.client.delete("twins/door").expect(204);
    full.client.put("twins/door", json!({"site": "store"})).expect(201);
    assert_eq!(full.client.get("twins/door/alarms").expect(200).json(), json!({"alarms": []}));
    full.gateway.shutdown().await;
    full.node.shutdown().await;
}
