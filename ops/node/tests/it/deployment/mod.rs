//! Dashboards and alert rules use what a running node shows, and nothing else.

mod promql;
mod rules;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::world::World;

const DASHBOARD: &str = include_str!("../../../../deploy/grafana/twinmesh.json");
const METRICS: &str = include_str!("../../../METRICS.md");

/// Labels of a target, which Prometheus adds to everything it scrapes.
const TARGET_LABELS: [&str; 2] = ["job", "instance"];

/// The samples that METRICS.md documents, with their labels.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let mut samples = BTreeMap::new();
    for line in METRICS.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`');
        let labels: BTreeSet<String> = cells[2]
            .split(',')
            .map(|label| label.trim().trim_matches('`').to_owned())
            .filter(|l| !l.is_empty())
            .collect();
        if cells[1] == "histogram" {
            let mut with_bound = labels.clone();
            with_bound.insert("le".to_owned());
            samples.insert(format!("{name}_bucket"), with_bound);
            samples.insert(format!("{name}_sum"), labels.clone());
            samples.insert(format!("{name}_count"), labels);
        } else {
            samples.insert(name.to_owned(), labels);
        }
    }
    samples
}

/// The samples that a node shows.
fn shown(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut samples: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap();
        let labels = samples.entry(line[..end].to_owned()).or_default();
        if let Some(inside) = line[end..].strip_prefix('{') {
            labels.extend(promql::label_names(inside));
        }
    }
    samples
}

/// Every expression of the dashboard, with where it stands.
fn dashboard_expressions() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is used twice");
        let place = &panel["gridPos"];
        assert!(
            place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24,
            "{title} is wider than the dashboard"
        );
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
            // What a legend names must be a label of the result.
            for label in target["legendFormat"].as_str().unwrap().split("{{").skip(1) {
                let label = label.split_once("}}").unwrap().0;
                let expression = target["expr"].as_str().unwrap();
                let kept = expression.contains(" by (") && promql::parse(expression).unwrap().grouped.contains(label)
                    || !expression.contains(" by (") && label == "instance";
                assert!(kept, "{title}: {label} is not in the result of {expression}");
            }
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        found.push(("annotation".to_owned(), annotation["expr"].as_str().unwrap().to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        let query = variable["query"]["query"].as_str().unwrap_or_default();
        if let Some(inside) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')) {
            found.push(("variable".to_owned(), inside.rsplit_once(',').unwrap().0.to_owned()));
        }
    }
    found
}

/// Uses every metric and label that is there?
fn check(place: &str, expression: &str, known: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<String> {
    let used = promql::parse(expression).unwrap_or_else(|error| panic!("{place}: {error} in {expression}"));
    assert!(!used.metrics.is_empty(), "{place}: no metric in {expression}");
    let mut labels: BTreeSet<&str> = TARGET_LABELS.into();
    let empty = BTreeSet::new();
    for (metric, matched) in &used.metrics {
        // Prometheus' own.
        let has = if metric == "up" {
            &empty
        } else {
            known.get(metric).unwrap_or_else(|| panic!("{place}: no metric {metric}"))
        };
        for label in matched {
            assert!(
                has.contains(label) || TARGET_LABELS.contains(&label.as_str()),
                "{place}: {metric} has no label {label}"
            );
        }
        labels.extend(has.iter().map(String::as_str));
    }
    for label in &used.grouped {
        assert!(labels.contains(label.as_str()), "{place}: nothing has a label {label} in {expression}");
    }
    used.metrics.into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_and_alerts_use_metrics_and_labels_that_a_node_shows() {
    let world = World::start().await;
    let client = world.client();
    client.put("twins/t", json!({"desired": {"a": 1}})).expect(201);
    let text = String::from_utf8(client.get("/metrics").expect(200).body).unwrap();
    let (known, shown) = (documented(), shown(&text));
    for (sample, labels) in &shown {
        assert_eq!(Some(labels), known.get(sample), "METRICS.md says otherwise of {sample}");
    }
    // What has no sample before something goes wrong; its family is shown all the same, as another test checks.
    let later: BTreeSet<&str> = ["twinmesh_sessions_refused_total"].into();
    for sample in known.keys().filter(|sample| !later.contains(sample.as_str())) {
        assert!(shown.contains_key(sample), "{sample} is not shown by a node that was just used");
    }

    let mut used = BTreeSet::new();
    for (place, expression) in dashboard_expressions() {
        used.extend(check(&place, &expression, &known));
    }
    let alerts = rules::read();
    assert!(alerts.len() >= 15);
    for alert in &alerts {
        check(&alert.name, &alert.expr, &known);
    }
    // The dashboard shows all there is: whoever adds a metric decides where it is seen.
    let unseen: Vec<&String> = known
        .keys()
        .filter(|sample| !used.contains(*sample) && !sample.ends_with("_sum") && !sample.ends_with("_count"))
        .filter(|sample| !UNSEEN.contains(&sample.as_str()))
        .collect();
    assert!(unseen.is_empty(), "no panel shows {unseen:?}");
    world.node.shutdown().await;
}

/// For whoever looks for a fault of the program, rather than of a node.
const UNSEEN: [&str; 8] = [
    "twinmesh_applied_rows_total",
    "twinmesh_entries_in_flight",
    "twinmesh_entry_bytes_total",
    "twinmesh_frames_received_total",
    "twinmesh_frames_sent_total",
    "twinmesh_frames_skipped_total",
    "twinmesh_frames_unsendable_total",
    "twinmesh_heartbeats_total",
];

#[test]
fn a_metric_or_label_that_is_not_there_is_found() {
    let known = documented();
    let fails = |expression: &str| std::panic::catch_unwind(|| check("test", expression, &documented())).is_err();
    check("test", r#"sum by (route) (rate(twinmesh_http_requests_total{status=~"5.."}[5m]))"#, &known);
    for wrong in [
        "rate(twinmesh_http_request_total[5m])",
        r#"twinmesh_ready{status="x"}"#,
        "sum by (route) (twinmesh_ready)",
        "sum(twinmesh_ready",
        "1 + 2",
    ] {
        assert!(fails(wrong), "{wrong}");
    }
}
