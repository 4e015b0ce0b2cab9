//! What has a file's name and is none: a start says so at once, and waits for nobody.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Twind, twind};

/// Far more than a start takes, or a refusal.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `twind` with these arguments, which must be refused; what it says.
fn refused(what: &str, args: &[&str]) -> String {
    let mut child = twind(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{what}: it hangs: {}", String::from_utf8_lossy(&child.wait_with_output().unwrap().stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{what}: it starts: {said}");
    assert_eq!(said.lines().count(), 1, "{what}: {said}");
    said
}

fn make(kind: &str, at: &Path) {
    match kind {
        "pipe" => assert!(Command::new("mkfifo").arg(at).status().unwrap().success()),
        "directory" => std::fs::create_dir(at).unwrap(),
        _ => symlink("/dev/zero", at).unwrap(),
    }
}

fn unmake(at: &Path) {
    if std::fs::symlink_metadata(at).unwrap().is_dir() {
        std::fs::remove_dir(at).unwrap();
    } else {
        std::fs::remove_file(at).unwrap();
    }
}

#[test]
fn no_file_of_the_data_directory_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    let path = dir.path().to_str().unwrap();
    let start = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir", path];
    let audit =
        ["audit/changes-0000000001.jsonl", "audit/steering-0000000001.jsonl", "audit/security-0000000001.jsonl"];
    let files = ["node.json", "admin.token", "ca.pem", "ca.key", "log.redb", "log.journal", "state.redb"];
    for name in files.into_iter().chain(audit) {
        let file = dir.path().join(name);
        let aside = dir.path().join("aside");
        std::fs::rename(&file, &aside).unwrap_or_else(|error| panic!("{name}: {error}"));
        for kind in ["pipe", "directory", "device"] {
            make(kind, &file);
            let said = refused(&format!("{name} is a {kind}"), &start);
            assert!(said.contains(name.rsplit('/').next().unwrap()), "{name}: {said}");
            // A directory that is opened to be written says so itself.
            assert!(said.contains(&format!("is a {kind}")) || said.contains("Is a directory"), "{name}: {said}");
            unmake(&file);
        }
        std::fs::rename(&aside, &file).unwrap();
    }
    Twind::start(dir.path()).kill();
}

/// Where files are made before they have their names.
#[test]
fn what_lies_where_a_file_is_made_is_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["node.json.new", "admin.token.new", "ca.key.new"] {
        make("pipe", &dir.path().join(name));
    }
    Twind::start(dir.path()).kill();
    let other = tempfile::tempdir().unwrap();
    let path = other.path().to_str().unwrap();
    for name in ["log.redb.new", "log.journal.new", "state.redb.new"] {
        let file = other.path().join(name);
        make("pipe", &file);
        let start = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir", path];
        let said = refused(name, &start);
        assert!(said.contains("is a pipe"), "{said}");
        unmake(&file);
    }
}

#[test]
fn keys_and_backups_are_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let odd = dir.path().join("odd");
    for kind in ["pipe", "directory", "device"] {
        make(kind, &odd);
        let (path, odd_path) = (path.to_str().unwrap(), odd.to_str().unwrap());
        let sealed = ["dev", "--data-dir", path, "--log", "error", "--encrypt-state", "--state-key-file", odd_path];
        let restored = ["restore", "--data-dir", path, "--from", odd_path];
        for args in [&sealed[..], &restored] {
            let said = refused(&format!("{} with a {kind}", args[0]), args);
            assert!(said.contains(odd_path) && said.contains(&format!("is a {kind}")), "{said}");
        }
        unmake(&odd);
    }
}
