//! The program, as far as it goes without a node.

use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

fn twin_sim(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_twin-sim"))
        .current_dir(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The certificate of a CA that no node has.
const CA: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBljCCAT2gAwIBAgIUJ6mH3gA3dXBsWsF0lNy3ihyt75cwCgYIKoZIzj0EAwIw\n\
IDEeMBwGA1UEAwwVQSBDQSB0aGF0IG5vIG5vZGUgaGFzMCAXDTI2MTEyMTExMzUy\n\
N1oYDzIxMjYxMDI4MTEzNTI3WjAgMR4wHAYDVQQDDBVBIENBIHRoYXQgbm8gbm9k\n\
ZSBoYXMwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAT3pnWZSjR6N16hSwKdXTF3\n\
vaiXT08RcIXlKt1QGlg2INeoP2/ZAl8raOdkr9Tl53w8ZfDWQ+V3+rHf0rbLKqRa\n\
o1MwUTAdBgNVHQ4EFgQU4Harg0fG0HdIuGsbfzwyizVpOqEwHwYDVR0jBBgwFoAU\n\
4Harg0fG0HdIuGsbfzwyizVpOqEwDwYDVR0TAQH/BAUwAwEB/zAKBggqhkjOPQQD\n\
AgNHADBEAiAL8OYFV7eohNuaZ2nbzy7Dc8aRRESTD9kaIMBHWI+Z9gIgCkFpIt3m\n\
NoeQPAB4QAepBBo1POlZLaRxyv8UGxZGxD8=\n\
-----END CERTIFICATE-----\n\
";

/// A file of the right form whose CA no node has.
fn credentials(folder: &TempDir) {
    credentials_with(folder, CA);
}

fn credentials_with(folder: &TempDir, ca: &str) {
    let file = serde_json::json!({
        "version": 1, "site": "store-1", "name": "gw-1", "productKey": "pk", "secret": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "ca": ca, "serverName": "twinmesh-node",
    });
    std::fs::write(folder.path().join("gw.json"), file.to_string()).unwrap();
}

const REPLAY: [&str; 7] = ["replay", "--cluster", "127.0.0.1:9", "--credentials", "gw.json", "--site", "store-1"];

#[test]
fn it_tells_its_version_and_how_to_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let version = twin_sim(&folder, &["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("twin-sim "));
    let help = String::from_utf8(twin_sim(&folder, &["replay", "--help"]).stdout).unwrap();
    for word in ["--cluster", "--credentials", "--site", "--state", "--rate", "default: max", "timestamp"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn what_cannot_be_replayed_exits_2_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    credentials(&folder);
    std::fs::write(folder.path().join("s.csv"), "timestamp,value\nt1,x\n").unwrap();
    std::fs::write(folder.path().join("good.csv"), "timestamp,value\nt1,1\n").unwrap();
    for (extra, expected) in [
        (&["s.csv"][..], "line 2, column \"value\""),
        (&["none.csv"], "none.csv"),
        (&["good.csv", "./good.csv"], "already stands for device good"),
        (&["--rate", "0", "good.csv"], "is not a rate"),
        (&["--site", "store-2", "good.csv"], "cannot be used multiple times"),
        (&["--outbox-bytes", "10", "good.csv"], "10 is not in"),
        (&[], "CSV"),
    ] {
        let output = twin_sim(&folder, &[&REPLAY[..], extra].concat());
        assert_eq!(output.status.code(), Some(2), "{extra:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{extra:?}: {}", stderr(&output));
        assert!(output.stdout.is_empty());
    }
    assert!(!folder.path().join("gw.replay").exists());
}

#[test]
fn a_gateway_speaks_for_its_own_site_only() {
    let folder = tempfile::tempdir().unwrap();
    credentials(&folder);
    std::fs::write(folder.path().join("s.csv"), "timestamp,value\nt1,1\n").unwrap();
    let mut arguments = REPLAY.to_vec();
    arguments[6] = "store-2";
    arguments.push("s.csv");
    let output = twin_sim(&folder, &arguments);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("the credentials are of site store-1, --site says store-2"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_state_folder_of_another_gateway_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    credentials(&folder);
    std::fs::write(folder.path().join("s.csv"), "timestamp,value\nt1,1\n").unwrap();
    let state = folder.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let note = serde_json::json!({"version": 1, "site": "store-1", "gateway": "gw-2", "ca": ""});
    std::fs::write(state.join("replay.json"), note.to_string()).unwrap();
    let output = twin_sim(&folder, &[&REPLAY[..], &["--state", "state", "s.csv"]].concat());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("belongs to gateway store-1/gw-2"), "{}", stderr(&output));
}

#[test]
fn a_ca_that_is_no_certificate_is_refused_by_file_and_field() {
    let folder = tempfile::tempdir().unwrap();
    credentials_with(&folder, "not a certificate");
    std::fs::write(folder.path().join("s.csv"), "timestamp,value\nt1,1\n").unwrap();
    let output = twin_sim(&folder, &[&REPLAY[..], &["s.csv"]].concat());
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(said.contains("gw.json") && said.contains("field \"ca\" must be the node's CA certificate"), "{said}");
    assert!(!folder.path().join("gw.replay").exists());
}
