//! A node whose state is sealed on the disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::process::{Twind, twind};
use crate::restored::{back_up, restore};

const VALUE: &str = "a price that appears nowhere else";

fn key_file(folder: &Path, name: &str, digit: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, format!("{}\n", digit.repeat(64))).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    file
}

fn refused(dir: &Path, more: &[&str]) -> String {
    let args = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir"];
    let output = twind(&args).arg(dir).args(more).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn shows_a_value(dir: &Path) -> bool {
    // What was restored has a journal from its first start on.
    let files = ["log.redb", "log.journal", "state.redb"].map(|file| std::fs::read(dir.join(file)));
    assert!(files[0].is_ok() && files[2].is_ok());
    files.into_iter().flatten().any(|bytes| contains(&bytes, VALUE))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn value_of(node: &Twind) -> serde_json::Value {
    node.request("GET", "twins/label", None).1["properties"]["desired"]["price"].clone()
}

#[test]
fn what_a_sealed_node_holds_is_read_with_its_key_only_and_so_is_its_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, backup) = (folder.path().join("node"), folder.path().join("a.twinbackup"));
    let (key, other) = (key_file(folder.path(), "key", "3"), key_file(folder.path(), "other", "4"));
    let with =
        |key: &Path| ["--encrypt-state".to_owned(), "--state-key-file".to_owned(), key.to_str().unwrap().to_owned()];
    let with_key = with(&key);
    let with_key: Vec<&str> = with_key.iter().map(String::as_str).collect();

    let node = Twind::start_with(&dir, &with_key);
    assert_eq!(node.request("PUT", "twins/label", Some(json!({"desired": {"price": VALUE}}))).0, 201);
    let bytes = back_up(&node, &backup);
    node.kill();
    assert!(!shows_a_value(&dir) && !contains(&bytes, VALUE) && !contains(&bytes, "PRIVATE KEY"));
    // After a kill, from the log; then by the environment, from a clean stop.
    let node = Twind::start_with(&dir, &with_key);
    assert_eq!(value_of(&node), VALUE);
    node.signal("-TERM");
    assert!(node.wait().0.success());
    assert!(!shows_a_value(&dir));

    assert!(refused(&dir, &[]).contains("is sealed: start with --encrypt-state"));
    assert!(refused(&dir, &["--encrypt-state"]).contains("needs a key"));
    let wrong = with(&other);
    assert!(refused(&dir, &wrong.each_ref().map(String::as_str)).contains("another key"));
    assert!(refused(&dir, &with_key[1..]).contains("means nothing without --encrypt-state"));
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&dir, &wrong.each_ref().map(String::as_str)).contains("chmod 600"));
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600)).unwrap();

    // The backup: not without the key, nor with another; and sealed again, also where nobody says so.
    let [sealed, unsaid, plain] = ["sealed", "unsaid", "plain"].map(|name| folder.path().join(name));
    let said = restore(&backup, &sealed, &[]).unwrap_err();
    assert!(said.contains("is sealed: give the key"), "{said}");
    let said = restore(&backup, &sealed, &wrong.each_ref().map(String::as_str)).unwrap_err();
    assert!(said.contains("cannot be unsealed"), "{said}");
    assert!(!sealed.exists(), "it was not there before");
    restore(&backup, &sealed, &with_key).unwrap();
    assert!(!shows_a_value(&sealed));
    let node = Twind::start_with(&sealed, &with_key);
    assert_eq!(value_of(&node), VALUE);
    node.kill();
    restore(&backup, &unsaid, &with_key[1..]).unwrap();
    assert!(!shows_a_value(&unsaid));
    assert!(refused(&unsaid, &[]).contains("is sealed: start with --encrypt-state"));
    let node = Twind::start(&plain);
    assert_eq!(node.request("PUT", "twins/label", Some(json!({"desired": {"price": VALUE}}))).0, 201);
    // And the way there: a plain node's backup restored with a key.
    let (plain_backup, moved) = (folder.path().join("b.twinbackup"), folder.path().join("moved"));
    assert!(contains(&back_up(&node, &plain_backup), VALUE));
    node.kill();
    assert!(refused(&plain, &with_key).contains("twind restore --encrypt-state"));
    restore(&plain_backup, &moved, &with_key).unwrap();
    assert!(!shows_a_value(&moved));
    let node = Twind::start_with(&moved, &with_key);
    assert_eq!(value_of(&node), VALUE);
    node.kill();
}

#[test]
fn the_key_may_come_by_the_environment_or_as_a_systemd_credential() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("node");
    let credentials = folder.path().join("credentials");
    std::fs::create_dir(&credentials).unwrap();
    let key = "5".repeat(64);
    std::fs::write(credentials.join("state.key"), &key).unwrap();
    for (name, value) in [("TWIND_STATE_KEY", key.as_ref()), ("CREDENTIALS_DIRECTORY", credentials.as_os_str())] {
        let node = Twind::start_sealed_by(&dir, name, value);
        assert!(node.request("PUT", "twins/label", Some(json!({"desired": {"price": VALUE}}))).0 < 300);
        node.kill();
        assert!(!shows_a_value(&dir));
    }
}
