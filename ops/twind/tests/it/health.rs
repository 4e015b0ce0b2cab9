//! `twind health`, beside nodes that are served in the clear, over TLS, or not at all.

use crate::process::{Twind, twind};

fn health(args: &[&str]) -> (bool, String) {
    let output = twind(&[&["health"], args].concat()).output().unwrap();
    assert!(output.stdout.is_empty());
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn it_asks_the_node_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let addr = node.ready["http"].as_str().unwrap().strip_prefix("http://").unwrap().to_owned();
    assert_eq!(health(&["--http", &addr]), (true, String::new()));
    node.kill();
    let (healthy, said) = health(&["--http", &addr]);
    assert!(!healthy && said.contains("does not answer"), "{said}");
}

#[test]
fn beyond_loopback_it_trusts_the_nodes_own_ca() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Twind::start_with(dir.path(), &["--http", "0.0.0.0:0"]);
    let port = node.ready["http"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let at = format!("0.0.0.0:{port}");
    let folder = |dir: &tempfile::TempDir| dir.path().to_str().unwrap().to_owned();
    assert_eq!(health(&["--http", &at, "--data-dir", &folder(&dir)]), (true, String::new()));
    Twind::start(other.path()).kill();
    let (healthy, said) = health(&["--http", &at, "--data-dir", &folder(&other)]);
    assert!(!healthy && said.contains("ertificate"), "{said}");
    let (healthy, said) = health(&["--http", &at, "--data-dir", "/nowhere"]);
    assert!(!healthy && said.contains("/nowhere/ca.pem"), "{said}");
    node.kill();
}
