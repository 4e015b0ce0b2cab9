use std::process::Command;

fn run(args: &[&str]) -> (String, serde_json::Value) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_twin-load-tests"))
        .args(args)
        .arg("--dir")
        .arg(dir.path())
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    (stdout, serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap())
}

#[test]
fn throughput_stands_beside_its_baselines() {
    let args = ["--seconds", "1", "--slices", "1", "--gateways", "2", "--devices", "40", "--in-flight", "32"];
    let (table, figures) = run(&[&["throughput"], &args[..]].concat());
    for name in [
        "updates_per_s",
        "raw_redb_rows_per_s",
        "ratio_to_raw_redb",
        "ack_p50_ms",
        "fdatasync_p50_us",
        "rows_per_round",
    ] {
        assert!(figures[name]["median"].as_f64().unwrap() > 0.0, "{name} in {figures}");
    }
    assert!(table.contains("TOO NOISY: this is a debug build") || !cfg!(debug_assertions), "{table}");
}

#[test]
fn updates_may_be_given_in_batches() {
    let args =
        ["--seconds", "1", "--slices", "1", "--gateways", "1", "--devices", "64", "--in-flight", "64", "--batch", "16"];
    let (_, figures) = run(&[&["throughput"], &args[..]].concat());
    assert!(figures["updates_per_s"]["median"].as_f64().unwrap() > 0.0, "{figures}");
}

#[test]
fn an_idle_node_tells_how_fast_it_is_ready_and_what_it_takes() {
    let (_, figures) = run(&["idle", "--starts", "1", "--twins", "50"]);
    assert!(figures["ready_after_kill_ms"]["median"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(figures["idle_after_kill_bytes"].as_f64().unwrap() > 1e6, "{figures}");
}
