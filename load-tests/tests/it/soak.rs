use std::process::Command;

/// A short soak: its exit code's word, its standard output, its JSON and its plots.
fn soak(args: &[&str]) -> (bool, String, serde_json::Value, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let (json, svg) = (dir.path().join("soak.json"), dir.path().join("svg"));
    let output = Command::new(env!("CARGO_BIN_EXE_twin-load-tests"))
        .args(["soak", "--gateways", "2", "--devices", "20", "--registered", "1000"])
        .args(args)
        .arg("--dir")
        .arg(dir.path())
        .arg("--json")
        .arg(&json)
        .arg("--svg-dir")
        .arg(&svg)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let written = std::fs::read_to_string(json)
        .unwrap_or_else(|error| panic!("{error}: {stdout}{}", String::from_utf8_lossy(&output.stderr)));
    let mut plots: Vec<String> =
        std::fs::read_dir(svg).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    plots.sort();
    (output.status.success(), stdout, serde_json::from_str(&written).unwrap(), plots)
}

fn figure<'a>(report: &'a serde_json::Value, name: &str) -> &'a serde_json::Value {
    let figures = report["figures"].as_array().unwrap();
    let named = figures.iter().find(|figure| figure["name"] == name);
    named.unwrap_or_else(|| panic!("no figure {name:?} in {report}"))
}

#[test]
fn clients_of_every_kind_come_and_go_and_leave_nothing_behind() {
    // Too short for any memory to be flat; what it shows is that the rest works.
    let (_, table, report, plots) = soak(&["--minutes", "0.15"]);
    let median = |name: &str| figure(&report, name)["median"].as_f64().unwrap();
    for name in [
        "reports in a closed loop, before",
        "reports acked",
        "reporting gateways came",
        "gateways passed by",
        "REST clients",
        "event streams",
        "items of batches",
        "activations",
        "twins made",
    ] {
        assert!(median(name) > 0.0, "{name} in {table}");
    }
    assert_eq!(figure(&report, "unexpected answers")["reached"], true, "{table}");
    assert_eq!(figure(&report, "sessions, connections and observers left behind")["reached"], true, "{table}");
    assert!(report["curves"].as_array().unwrap().iter().any(|curve| curve["of"] == "resident bytes"), "{report}");
    assert_eq!(plots, ["soak-clients.svg", "soak-memory.svg"]);
}

#[test]
fn a_node_that_leaks_is_found() {
    let (is_flat, table, report, _) = soak(&["--minutes", "0.1", "--rate", "200", "--leak-bytes-per-s", "50000000"]);
    assert!(!is_flat, "{table}");
    assert_eq!(report["flat"], false);
    // Nothing is flat within six seconds, but only a leak makes this of it: 200 MB from the second sixth to the last.
    let curves = report["curves"].as_array().unwrap();
    let resident = curves.iter().find(|curve| curve["of"] == "resident bytes").unwrap();
    let trend = |name: &str| resident["trend"][name].as_f64().unwrap();
    assert!(trend("late") - trend("early") > 1e8, "{resident}");
    assert!(trend("rise") > 1e8, "{resident}");
}
