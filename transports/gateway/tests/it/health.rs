//! What heartbeats tell of the box and its link.

use std::time::Duration;

use serde_json::json;
use twin_core::command::Command;
use twin_core::refusal::Refusal;
use twin_gateway::GatewayHealth;

use crate::node::{Node, World, eventually, id};

#[tokio::test]
async fn heartbeats_tell_of_backlog_load_link_power_and_signal() {
    let world = World::new(true);
    // Nobody knows this device, so what it says waits.
    let waits = id("waits");
    let waiting = waits.clone();
    world.refuse(move |twin, command| {
        let unknown = *twin == waiting && matches!(command, Command::Attach { .. });
        unknown.then(|| Refusal::NotFound { twin: twin.to_string() })
    });
    let node = Node::start(world);
    let dir = tempfile::tempdir().unwrap();
    let gateway = node.gateway("g1", dir.path());
    let health = || node.world.heartbeat().map(|heartbeat| heartbeat.health).unwrap_or_default();
    eventually("a heartbeat with what the system and QUIC tell", || {
        let health = health();
        health.round_trip_us.is_some_and(|us| us > 0) && health.packets_sent.is_some_and(|sent| sent > 0)
    })
    .await;
    let first = health();
    assert!(first.cpus.is_some_and(|cpus| cpus > 0), "{first:?}");
    assert_eq!(first.load_hundredths.is_some(), cfg!(target_os = "linux"));
    assert_eq!((first.rssi_dbm, first.battery_percent, first.on_battery), (None, None, None), "nobody said");
    assert_eq!(first.oldest_message_ms, None, "nothing is in the outbox");

    gateway.report(&waits, &json!({"n": 1})).await.unwrap();
    eventually("an age that grows", || health().oldest_message_ms.is_some_and(|ms| ms >= 300)).await;
    let said = GatewayHealth { rssi_dbm: Some(-71), battery_percent: Some(80), on_battery: Some(true) };
    gateway.set_health(said).unwrap();
    eventually("what was said", || {
        let health = health();
        (health.rssi_dbm, health.battery_percent, health.on_battery) == (Some(-71), Some(80), Some(true))
    })
    .await;
    // What none can have changes nothing, and says what is wrong.
    let error = gateway.set_health(GatewayHealth { rssi_dbm: Some(-1000), ..said }).unwrap_err();
    assert_eq!(error.to_string(), "rssi_dbm is -1000, but it is from -200 to 50");
    let before = node.world.heartbeat().unwrap().number;
    eventually("the next", || node.world.heartbeat().is_some_and(|heartbeat| heartbeat.number > before + 1)).await;
    assert_eq!(health().rssi_dbm, Some(-71));
    gateway.set_health(GatewayHealth::default()).unwrap();
    eventually("nothing more of it", || health().rssi_dbm.is_none() && health().on_battery.is_none()).await;
    assert!(gateway.status().connected);
    assert!(health().oldest_message_ms.is_some_and(|ms| ms < Duration::from_secs(60).as_millis() as u64));
    gateway.shutdown().await;
}
