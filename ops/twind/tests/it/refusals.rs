//! What keeps a node from starting is told in one line.

use std::os::unix::fs::PermissionsExt as _;

use crate::process::{Twind, twind};

/// Starts a node that must not start; what it says.
fn refused(args: &[&str]) -> String {
    let output = twind(&[&["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error"], args].concat())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("twind: "), "{said}");
    said
}

#[test]
fn a_directory_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    assert!(refused(&["--data-dir", dir.path().to_str().unwrap()]).contains("in use"));
    node.kill();
}

#[test]
fn a_directory_that_is_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(refused(&["--data-dir", file.to_str().unwrap()]).contains("data directory"));
}

#[test]
fn an_address_in_use_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = twind(&["dev", "--data-dir", dir.path().to_str().unwrap(), "--http", "127.0.0.1:0", "--log", "error"])
        .args(["--quic", &addr])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    for text in ["cannot bind UDP", "in use", "--quic"] {
        assert_eq!(said.matches(text).count(), 1, "{said}");
    }
}

#[test]
fn the_key_of_another_ca() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&dir, &other] {
        Twind::start(dir.path()).kill();
    }
    std::fs::copy(other.path().join("ca.key"), dir.path().join("ca.key")).unwrap();
    let said = refused(&["--data-dir", dir.path().to_str().unwrap()]);
    assert!(said.contains("ca.key") && said.contains("ca.pem") && said.contains("restore"), "{said}");
}

#[test]
fn a_token_for_everybody() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    std::fs::set_permissions(dir.path().join("admin.token"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(refused(&["--data-dir", dir.path().to_str().unwrap()]).contains("chmod 600"));
}

#[test]
fn a_log_filter_that_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let output = twind(&["dev", "--data-dir", dir.path().to_str().unwrap(), "--log", "a=b=c"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("is not a log filter"));
}

#[test]
fn a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    let log = dir.path().join("log.redb");
    let whole = std::fs::read(&log).unwrap();
    // Redb checks some of its structures with assertions, which must not be printed as a panic.
    for at in (0..320).step_by(8) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        std::fs::write(&log, &bytes[..at.max(4096).min(bytes.len())]).unwrap();
        assert!(refused(&["--data-dir", dir.path().to_str().unwrap()]).contains("log.redb"));
    }
    std::fs::write(&log, &whole).unwrap();
    // And the journal beside it: its header, which is there twice, and its end.
    let journal = dir.path().join("log.journal");
    let whole = std::fs::read(&journal).unwrap();
    let flipped = (0..96).step_by(8).map(|at| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        bytes[4096 + at] ^= 0xff;
        bytes
    });
    let cut = [4096, 8192, whole.len() - 4096].map(|len| whole[..len].to_vec());
    for bytes in flipped.chain(cut) {
        std::fs::write(&journal, bytes).unwrap();
        assert!(refused(&["--data-dir", dir.path().to_str().unwrap()]).contains("log.journal"));
    }
}

#[test]
fn a_log_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    for file in ["log.redb", "log.journal"] {
        std::fs::remove_file(dir.path().join(file)).unwrap();
    }
    let said = refused(&["--data-dir", dir.path().to_str().unwrap()]);
    assert!(said.contains("log.redb is missing") && said.contains("node.json"), "{said}");
}

/// Of the small file beside the log a start reads all, and a stop nothing.
#[test]
fn damaged_pages_of_log_redb_keep_a_node_from_starting_and_not_from_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let node = Twind::start(dir.path());
    let log = dir.path().join("log.redb");
    let mut bytes = std::fs::read(&log).unwrap();
    for page in bytes.chunks_mut(4096).skip(1).filter(|page| page.iter().any(|byte| *byte != 0)) {
        page[2..64].iter_mut().for_each(|byte| *byte ^= 0xa5);
    }
    std::fs::write(&log, bytes).unwrap();
    node.signal("-TERM");
    assert!(node.wait().0.success(), "it has no need of the file any more");
    let said = refused(&["--data-dir", dir.path().to_str().unwrap()]);
    assert!(said.contains("log.redb is damaged") && said.contains("twind restore --from FILE"), "{said}");
}

#[test]
fn an_older_copy_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("log.journal");
    let node = Twind::start(dir.path());
    let put = |node: &Twind, twin: &str| {
        assert_eq!(node.request("PUT", &format!("twins/{twin}"), Some(serde_json::json!({}))).0, 201);
    };
    put(&node, "one");
    let older = std::fs::read(&journal).unwrap();
    put(&node, "two");
    node.signal("-TERM");
    assert!(node.wait().0.success());
    let newest = std::fs::read(&journal).unwrap();
    std::fs::write(&journal, older).unwrap();
    let said = refused(&["--data-dir", dir.path().to_str().unwrap()]);
    for text in ["log.journal ends with frame", "state.redb says", "older copy", "twind restore --from FILE"] {
        assert!(said.contains(text), "{said}");
    }
    std::fs::write(&journal, newest).unwrap();
    let node = Twind::start(dir.path());
    assert_eq!(node.request("GET", "twins/two", None).0, 200);
    node.kill();
}
