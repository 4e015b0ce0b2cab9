//! How gateways are, as operators see it: heartbeats through a real node.

use serde_json::{Value, json};
use twin_core::ids::TwinId;
use twin_gateway::GatewayHealth;

use crate::gateway::Store;

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_a_gateways_backlog_load_link_power_and_signal() {
    let store = Store::open().await;
    for sample in ["twinmesh_gateways_on_battery", "twinmesh_gateways_rssi_at_most{dbm=\"-80\"}"] {
        assert_eq!(store.client.metric::<u64>(sample), 0, "shown before any says so");
    }
    // A device that has to be registered holds its messages.
    store.client.put("sites/store", json!({"enrolment": "registered"})).expect(200);
    store.gateway.report(&TwinId::new("label").unwrap(), &json!({"n": 1})).await.unwrap();
    let said = GatewayHealth { rssi_dbm: Some(-85), battery_percent: Some(42), on_battery: Some(true) };
    store.gateway.set_health(said).unwrap();
    let is_told = |site: &Value| {
        let status = &site["gateways"][0]["status"];
        status["onBattery"] == true && status["oldestMessageMs"].as_u64().is_some_and(|ms| ms >= 1000)
    };
    let status = store.until("sites/store", is_told)["gateways"][0]["status"].take();
    assert_eq!((&status["rssiDbm"], &status["batteryPercent"]), (&json!(-85), &json!(42)), "{status}");
    assert_eq!(status["backlogMessages"], 1);
    for known in ["roundTripMs", "packetsSent", "packetsLost", "cpus", "loadAverage"] {
        assert!(status[known].is_number(), "{known}: {status}");
    }
    let node = store.client.get("nodes").expect(200).json()["nodes"][0]["gateways"].take();
    assert_eq!((&node["connected"], &node["byCertificate"], &node["onBattery"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!((&node["backlogMessages"], &node["batteryPercentMin"]), (&json!(1), &json!(42)));
    assert!(node["oldestMessageMs"].as_u64().unwrap() >= 1000, "{node}");
    assert_eq!(store.client.metric::<u64>("twinmesh_gateways_on_battery"), 1);
    assert_eq!(store.client.metric::<u64>("twinmesh_gateway_backlog_messages"), 1);
    assert!(store.client.metric::<f64>("twinmesh_gateway_backlog_age_seconds_max") >= 1.0);
    assert!(store.client.metric::<f64>("twinmesh_gateway_round_trip_seconds_max") > 0.0);
    for (dbm, count) in [(-60, 1_u64), (-80, 1), (-90, 0)] {
        assert_eq!(
            store.client.metric::<u64>(&format!("twinmesh_gateways_rssi_at_most{{dbm=\"{dbm}\"}}")),
            count,
            "{dbm}"
        );
    }
    // Whoever is away counts no more; what was last heard of it is still shown beside its name.
    store.gateway.shutdown().await;
    let site = store.until("sites/store", |site| site["gateways"][0]["connected"] == false);
    assert_eq!(site["gateways"][0]["status"]["batteryPercent"], 42);
    assert_eq!(store.client.metric::<u64>("twinmesh_gateways_on_battery"), 0);
    store.world.node.shutdown().await;
}
