use std::process::Command;

/// A tiny run of these scenarios: its standard output, its JSON, and the names of its plots.
fn tiny(only: &str) -> (String, serde_json::Value, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (json, svg) = (dir.path().join("figures.json"), dir.path().join("svg"));
    let output = Command::new(env!("CARGO_BIN_EXE_twin-load-tests"))
        .args(["all", "--tiny", "--no-peers", "--only", only, "--dir"])
        .arg(dir.path())
        .arg("--json")
        .arg(&json)
        .arg("--svg-dir")
        .arg(&svg)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let mut plots: Vec<String> =
        std::fs::read_dir(svg).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    plots.sort();
    (stdout, serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap(), plots)
}

/// The median of the figure of this name (its beginning).
fn median(report: &serde_json::Value, scenario: &str, name: &str) -> f64 {
    let figures = report["figures"].as_array().unwrap();
    let mut named = figures.iter().filter(|figure| {
        figure["scenario"] == scenario && figure["name"].as_str().is_some_and(|found| found.starts_with(name))
    });
    let figure = named.next().unwrap_or_else(|| panic!("no figure {name:?} of {scenario} in {report}"));
    figure["median"].as_f64().unwrap()
}

#[test]
fn updates_and_bytes_stand_beside_their_baselines() {
    let (table, report, plots) = tiny("W1,B1");
    for name in [
        "durable reported updates",
        "raw durable redb appends",
        "QUIC echo",
        "ractor calls",
        "CPU of the node",
        "durable updates in calls of 1",
    ] {
        assert!(median(&report, "W1", name) > 0.0, "{name} in {report}");
    }
    assert!(median(&report, "B1", "bytes of frames") > 0.0, "{report}");
    assert_eq!(plots, ["throughput-over-batch.svg"]);
    assert!(table.contains("of raw redb appends"), "{table}");
    assert!(table.contains("TOO NOISY TO BELIEVE") || !cfg!(debug_assertions), "{table}");
}

#[test]
fn a_scenario_that_does_not_exist_is_refused_by_name() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_twin-load-tests")).args(["all", "--tiny", "--only", "W9"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no scenario \"W9\""));
}

#[test]
fn seeded_twins_are_read_and_weighed_as_any_other() {
    let (_, report, plots) = tiny("A1,M1");
    assert!(median(&report, "A1", "cold activations") > 0.0, "{report}");
    assert!(median(&report, "A1", "cold read p99") > 0.0, "{report}");
    assert!(median(&report, "M1", "idle node") > 1.0, "{report}");
    assert!(median(&report, "M1", "state file per registered twin, of 2000") > 100.0, "{report}");
    // Of so few it may be anything.
    median(&report, "M1", "memory per registered twin that is not active");
    assert_eq!(plots, ["memory-over-twins.svg"]);
}

#[test]
fn reports_of_any_seeded_twin_stand_beside_redb_alone() {
    let (_, report, plots) = tiny("S1,T1");
    for name in [
        "durable updates, random over 2000",
        "redb alone, random hot rows",
        "cold activations of it",
        "highest resident, random over 2000",
        "state file per registered twin",
    ] {
        assert!(median(&report, "S1", name) > 0.0, "{name} in {report}");
    }
    assert!(median(&report, "S1", "most log / budget, random") <= 1.0, "{report}");
    assert!(median(&report, "T1", "start to serving, 2000 twins, clean") > 0.0, "{report}");
    assert_eq!(plots, ["throughput-over-twins.svg"]);
}

#[test]
fn sealing_backups_and_observers_stand_beside_a_node_without() {
    let (table, report, _) = tiny("E1,K1,O1");
    for name in ["durable updates, sealed", "CPU of the node, sealed", "state file a twin, sealed"] {
        assert!(median(&report, "E1", name) > 0.0, "{name} in {report}");
    }
    for name in ["p99 of acks at 2000/s without", "p99 of acks at 2000/s during backups", "a backup, 2000 seeded twins"]
    {
        assert!(median(&report, "K1", name) > 0.0, "{name} in {report}");
    }
    for name in ["durable updates beside an observer / without", "CPU of the node beside an observer"] {
        assert!(median(&report, "O1", name) > 0.0, "{name} in {report}");
    }
    assert!(table.contains("of plain"), "{table}");
}
