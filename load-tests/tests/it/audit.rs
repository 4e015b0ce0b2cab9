use std::process::{Command, Output};

fn audit(args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_twin-load-tests"))
        .arg("audit")
        .args(args)
        .arg("--dir")
        .arg(dir.path())
        .output()
        .unwrap()
}

/// The counts of the last line, `missing=3` and so on.
fn counts(output: &Output) -> impl Fn(&str) -> u64 {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    move |name| {
        let line = stdout.lines().last().unwrap_or_default();
        let count = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("no {name} in {stdout:?}; {stderr}"))
    }
}

#[test]
fn twenty_kills_of_node_and_gateways_lose_double_and_turn_back_nothing() {
    let output = audit(&["--kills", "20", "--seed", "20"]);
    let count = counts(&output);
    assert_eq!(count("kills"), 20);
    assert!(count("acked") > 1000, "the load was too small to show anything");
    let wrong = ["missing", "promised_missing", "doubled", "went_back"].map(count);
    assert_eq!(wrong, [0; 4], "{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_node_that_acks_before_it_commits_is_found() {
    let output = audit(&["--kills", "6", "--seed", "6", "--who", "node", "--plant", "ack-before-commit"]);
    let count = counts(&output);
    assert!(count("missing") > 0, "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(1));
}
