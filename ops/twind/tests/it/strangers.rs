//! Data files of two nodes in one directory.

use std::path::Path;

use serde_json::json;

use crate::process::{Twind, twind};

fn refused(dir: &Path) -> String {
    let args = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir"];
    let output = twind(&args).arg(dir).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn id_of(dir: &Path) -> String {
    let identity: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("node.json")).unwrap()).unwrap();
    identity["node"].as_str().unwrap().to_owned()
}

#[test]
fn log_and_state_of_two_nodes_are_not_taken_for_one() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&one, &two] {
        let node = Twind::start(dir.path());
        assert_eq!(node.request("PUT", "twins/t", Some(json!({}))).0, 201);
        node.kill();
    }
    let (id_one, id_two) = (id_of(one.path()), id_of(two.path()));
    let copy = |file: &str| std::fs::copy(two.path().join(file), one.path().join(file)).unwrap();
    let whole = std::fs::read(one.path().join("state.redb")).unwrap();
    copy("state.redb");
    let said = refused(one.path());
    for text in ["log.redb", "state.redb", &id_one, &id_two, "twind restore --from FILE"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    // All of the other node, in this one's directory.
    let logs = ["log.redb", "log.journal"].map(|file| (file, std::fs::read(one.path().join(file)).unwrap()));
    copy("log.redb");
    assert!(refused(one.path()).contains("log.journal"));
    copy("log.journal");
    let said = refused(one.path());
    for text in ["state.redb", &id_one, &id_two, "node.json"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    // Its own again.
    std::fs::write(one.path().join("state.redb"), whole).unwrap();
    for (file, log) in logs {
        std::fs::write(one.path().join(file), log).unwrap();
    }
    let node = Twind::start(one.path());
    assert_eq!(node.request("GET", "twins/t", None).0, 200);
    node.kill();
    // An identity that was lost is read from the files.
    std::fs::remove_file(one.path().join("node.json")).unwrap();
    Twind::start(one.path()).kill();
    assert_eq!(id_of(one.path()), id_one);
}
