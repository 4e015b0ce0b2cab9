//! `twind demo`: the first thing that anybody sees.

use std::path::Path;
use std::process::Stdio;

use crate::process::twind;

/// Runs the demo, small and short; returns what stood on stdout.
fn demo(more: &[&str]) -> String {
    let arguments = ["demo", "--seconds", "6", "--gateways", "2", "--devices", "40", "--http", "127.0.0.1:0"];
    let output = twind(&[&arguments[..], more].concat()).stdin(Stdio::null()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    stdout
}

/// A figure of the last line.
fn figure(stdout: &str, name: &str) -> f64 {
    let summary = stdout.lines().last().unwrap();
    let word = summary.split(' ').find_map(|word| word.strip_prefix(&format!("{name}=")));
    word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{name} in {summary:?}"))
}

#[test]
fn the_demo_reports_steers_and_tells_how_to_look() {
    let stdout = demo(&[]);
    assert!(figure(&stdout, "acked") > 50.0, "{stdout}");
    assert!(figure(&stdout, "applied") >= 1.0, "{stdout}");
    assert!(stdout.trim_end().ends_with(" refused=0"), "{stdout}");
    assert!(stdout.lines().last().unwrap().contains(" p50="));
    assert!(stdout.contains("curl -s -H \"$auth\" $api/twins/label-0001"), "{stdout}");
    let token_file = stdout.split("$(cat ").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    assert!(!Path::new(token_file).exists(), "a temporary directory is removed: {token_file}");
}

#[test]
fn a_demo_with_a_directory_goes_on_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--data-dir", dir.path().to_str().unwrap()];
    let first = demo(&arguments);
    assert!(dir.path().join("admin.token").exists() && dir.path().join("gateways/gw-01.json").exists());
    let credentials = std::fs::read(dir.path().join("gateways/gw-02.json")).unwrap();
    let second = demo(&arguments);
    assert!(figure(&first, "acked") > 50.0 && figure(&second, "acked") > 50.0, "{second}");
    assert!(second.trim_end().ends_with(" refused=0"), "{second}");
    assert_eq!(std::fs::read(dir.path().join("gateways/gw-02.json")).unwrap(), credentials);
}
