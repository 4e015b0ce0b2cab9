//! Back-pressure, the whole way: gateways hold in their outboxes what the node has no room for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Report};
use twin_node::{Node, NodeOptions};

use crate::world::client_of;

const BUDGET_BYTES: usize = 64 * 1024;
const GATEWAYS: usize = 4;
const REPORTS: u64 = 2_000;
const DEVICES: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn gateways_with_backlogs_fill_a_small_budget_and_are_hardly_ever_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = NodeOptions::local(dir.path().join("data"));
    options.cluster.admitted_bytes_max = BUDGET_BYTES;
    let node = Node::start(options).await.unwrap();
    node.ready().await;
    let client = client_of(&node);
    client.put("sites/store", json!({"enrolment": "open"})).expect(201);
    let gateways: Vec<Gateway> = (0..GATEWAYS)
        .map(|n| {
            let made = client.post("sites/store/gateways", json!({"name": format!("g{n}")})).expect(201);
            let credentials = Credentials::from_json(std::str::from_utf8(&made.body).unwrap()).unwrap();
            let outbox = dir.path().join(format!("outbox-{n}"));
            let mut options = Options::new(node.quic_addr().to_string(), credentials, outbox);
            options.coalesce = false;
            Gateway::open(options).unwrap()
        })
        .collect();
    // Attached first: what is refused from here on are messages of batches.
    let twin = |gateway: usize, device: u64| TwinId::new(&format!("g{gateway}-{device}")).unwrap();
    for (n, gateway) in gateways.iter().enumerate() {
        for device in 0..DEVICES {
            gateway.report(&twin(n, device), &json!({"n": 0})).await.unwrap().acked().await.unwrap();
        }
    }
    let first = gateways[0].status().credit.expect("the node gives credit");
    assert!(first.state_bytes <= BUDGET_BYTES as u64 / 2, "{first:?}");
    let before = client.metric::<u64>("twinmesh_messages_refused_total");
    let (messages, acks) =
        (client.metric::<u64>("twinmesh_messages_total"), client.metric::<u64>("twinmesh_batch_acks_total"));
    let floods = gateways.iter().cloned().enumerate().map(|(n, gateway)| {
        tokio::spawn(async move {
            let reports = (1..=REPORTS).map(|number| {
                let patch: twin_core::value::Value = serde_json::from_value(json!({"n": number})).unwrap();
                Report::new(twin(n, number % DEVICES), patch)
            });
            gateway.report_all(reports.collect()).await.unwrap();
            gateway.drained().await.unwrap();
        })
    });
    let floods = futures_util::future::try_join_all(floods);
    let (peak, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sampling = {
        let (peak, stopped, client) = (peak.clone(), stopped.clone(), client_of(&node));
        tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                peak.fetch_max(client.metric::<u64>("twinmesh_admitted_bytes"), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    tokio::time::timeout(Duration::from_secs(120), floods).await.expect("everything is acked at last").unwrap();
    stopped.store(true, Ordering::Relaxed);
    sampling.await.unwrap();
    let peak = peak.load(Ordering::Relaxed);
    let refused = client.metric::<u64>("twinmesh_messages_refused_total") - before;
    let messages = client.metric::<u64>("twinmesh_messages_total") - messages;
    let acks = client.metric::<u64>("twinmesh_batch_acks_total") - acks;
    println!("{messages} messages in {acks} batches, {refused} refused, at most {peak} bytes admitted");
    assert!(refused * 100 <= messages, "{refused} of {messages} refused");
    assert!(peak <= 2 * BUDGET_BYTES as u64, "{peak}");
    for (n, gateway) in gateways.iter().enumerate() {
        let read = client.get(&format!("twins/g{n}-7")).expect(200).json();
        assert_eq!(read["properties"]["reported"]["n"], REPORTS - DEVICES + 7);
        assert!(gateway.status().counters.credit_waits > 0, "its outbox held what the node had no room for");
        assert_eq!(gateway.status().dead_letters, 0);
        gateway.shutdown().await;
    }
    node.shutdown().await;
}
