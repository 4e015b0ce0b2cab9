//! The metrics are those of METRICS.md.

use std::collections::BTreeSet;

use serde_json::json;

use crate::world::World;

fn documented() -> BTreeSet<String> {
    let text = include_str!("../../METRICS.md");
    text.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name.to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_are_those_that_are_documented() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"desired": {"a": 1}})).expect(201);
    client.get("twins/t/desired/a").expect(200);
    client.get("nothing").problem(404);
    client.send("BREW", "twins", &[], None).problem(405);
    let open = [("Accept", "application/openmetrics-text; version=1.0.0")];
    let response = client.send_bare("GET", "/metrics", &open, None).expect(200);
    assert_eq!(response.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let text = String::from_utf8(response.body).unwrap();
    let shown: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert_eq!(shown, documented());

    for line in [
        "twinmesh_ready 1",
        "twinmesh_http_requests_total{method=\"PUT\",route=\"/api/v1/twins/{id}\",status=\"201\"} 1",
        "twinmesh_http_requests_total{method=\"GET\",route=\"/api/v1/twins/{id}/desired/{pointer}\",status=\"200\"} 1",
        "twinmesh_http_requests_total{method=\"GET\",route=\"unmatched\",status=\"404\"} 1",
        "twinmesh_http_requests_total{method=\"other\",route=\"/api/v1/twins\",status=\"405\"} 1",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
    world.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_ask_for_open_metrics_gets_the_older_text() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({})).expect(201);
    let response = client.send_bare("GET", "/metrics", &[], None).expect(200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = String::from_utf8(response.body).unwrap();
    let named: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(named, documented(), "a family has the name of its samples");
    assert!(!text.contains("# EOF"));
    assert!(text.lines().any(|line| line == "# TYPE twinmesh_commands_total counter"), "{text}");
    world.node.shutdown().await;
}
