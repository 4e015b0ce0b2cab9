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
fn an_idle_node_tells_how_fast_it_is_ready_and_what_it_takes() {
    let (_, figures) = run(&["idle", "--starts", "1", "--twins", "50"]);
    assert!(figures["ready_after_kill_ms"]["median"].as_f64().unwrap() > 0.0, "{figures}");
    assert!(figures["idle_after_kill_bytes"].as_f64().unwrap() > 1e6, "{figures}");
}
