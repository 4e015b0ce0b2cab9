//! A directory that was a node's and has lost its state.

use std::path::Path;

use serde_json::json;

use crate::process::{Twind, twind};

fn refused(dir: &Path, more: &[&str]) -> String {
    let args = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir"];
    let output = twind(&args).arg(dir).args(more).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

fn lose_state(dir: &Path) {
    for file in ["log.redb", "log.journal", "state.redb"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
}

#[test]
fn state_that_is_gone_is_not_silently_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
    let token = node.token.clone();
    node.kill();
    let identity = || std::fs::read_to_string(dir.path().join("node.json")).unwrap();
    let before = identity();
    lose_state(dir.path());
    for round in 0..2 {
        let said = refused(dir.path(), &[]);
        assert_eq!(said.lines().count(), 1, "{said}");
        for text in ["log.redb", "state.redb", "are missing", "restore all of them from one backup", "--begin-empty"] {
            assert!(said.contains(text), "{text} in {said}");
        }
        assert!(!dir.path().join("log.redb").exists(), "round {round}: nothing was made");
        // The CA tells it as well.
        if round == 0 {
            std::fs::remove_file(dir.path().join("node.json")).unwrap();
        }
    }
    let node = Twind::start_with(dir.path(), &["--begin-empty"]);
    assert_eq!(node.request("GET", "twins/t", None).0, 404);
    assert_eq!(node.token, token);
    node.kill();
    assert_ne!(identity(), before, "another life");
    // The option is for one start: left where it is, it must not wait for the next loss.
    let said = refused(dir.path(), &["--begin-empty"]);
    assert!(said.contains("log.redb") && said.contains("start without it"), "{said}");
    Twind::start(dir.path()).kill();
}

#[test]
fn a_directory_of_an_earlier_release_gets_an_identity_and_keeps_it() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    std::fs::remove_file(dir.path().join("node.json")).unwrap();
    Twind::start(dir.path()).kill();
    let made = std::fs::read_to_string(dir.path().join("node.json")).unwrap();
    Twind::start(dir.path()).kill();
    assert_eq!(std::fs::read_to_string(dir.path().join("node.json")).unwrap(), made);
}

#[test]
fn a_token_that_was_put_there_first_is_no_node() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("admin.token");
    std::fs::write(&token, "0123456789012345678901234567890123456789012\n").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    Twind::start(dir.path()).kill();
}
