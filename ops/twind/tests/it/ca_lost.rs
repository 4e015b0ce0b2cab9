//! A directory that was a node's and has lost the CA that its gateways trust.

use std::fs::File;
use std::path::Path;

use crate::process::{Twind, twind};

const CA: [&str; 2] = ["ca.pem", "ca.key"];

fn refused(dir: &Path, more: &[&str]) -> String {
    let args = ["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir"];
    let output = twind(&args).arg(dir).args(more).output().unwrap();
    assert!(!output.status.success() && output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn read(dir: &Path) -> [String; 2] {
    CA.map(|file| std::fs::read_to_string(dir.join(file)).unwrap())
}

fn write(dir: &Path, ca: &[String; 2]) {
    for (file, text) in CA.iter().zip(ca) {
        std::fs::write(dir.join(file), text).unwrap();
    }
}

fn lose(dir: &Path) {
    for file in CA {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
}

#[test]
fn a_ca_that_is_gone_is_not_silently_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Twind::start(dir.path()).kill();
    let before = read(dir.path());
    lose(dir.path());
    for round in 0..3 {
        // Also where a crash, or a full disk, left them empty.
        if round == 2 {
            write(dir.path(), &[String::new(), String::new()]);
        }
        let said = refused(dir.path(), &[]);
        for text in ["ca.pem", "ca.key", "are missing", "backup", "--new-ca", "new credentials"] {
            assert!(said.contains(text), "{text} in {said}");
        }
        assert_eq!(dir.path().join("ca.key").exists(), round == 2, "round {round}: nothing was made");
    }
    // Put back, they are the ones that gateways trust.
    write(dir.path(), &before);
    Twind::start(dir.path()).kill();
    assert_eq!(read(dir.path()), before);

    lose(dir.path());
    Twind::start_with(dir.path(), &["--new-ca"]).kill();
    let made = read(dir.path());
    assert!(made[0] != before[0] && made[1] != before[1]);
    // The option is for one start: left where it is, it must not wait for the next loss.
    let said = refused(dir.path(), &["--new-ca"]);
    assert!(said.contains("ca.pem is there") && said.contains("start without it"), "{said}");
    Twind::start(dir.path()).kill();
    assert_eq!(read(dir.path()), made);
}

#[test]
fn a_key_that_is_gone_is_refused_and_a_certificate_that_is_gone_is_made_of_its_key_with_a_word() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    Twind::start(&data).kill();
    let before = read(&data);
    std::fs::remove_file(data.join("ca.key")).unwrap();
    let said = refused(&data, &[]);
    for text in ["ca.key is missing", "ca.pem is there", "restore", "--new-ca"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    let said = refused(&data, &["--new-ca"]);
    assert!(said.contains("ca.pem is there"), "{said}");
    write(&data, &before);

    // Whom it locks out: nobody, see `a_restarted_node_keeps_its_ca_and_old_credentials_hold`.
    std::fs::remove_file(data.join("ca.pem")).unwrap();
    let log = dir.path().join("log");
    Twind::start_logging(&data, File::create(&log).unwrap()).kill();
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("ca.pem") && said.contains("made again of its key"), "{said}");
    assert_eq!(read(&data)[1], before[1]);
}

#[test]
fn a_backup_without_keys_is_restored_and_started_with_its_ca_or_an_explicit_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let node = Twind::start(&first);
    assert_eq!(node.request("PUT", "twins/t", Some(serde_json::json!({}))).0, 201);
    let url = format!("{}/api/v1/backup?keys=false", node.ready["http"].as_str().unwrap());
    let answer = ureq::post(&url).header("Authorization", format!("Bearer {}", node.token)).send_empty().unwrap();
    let file = folder.path().join("a.twinbackup");
    std::io::copy(&mut answer.into_body().into_reader(), &mut File::create(&file).unwrap()).unwrap();
    node.kill();

    let restored = twind(&["restore", "--from"]).arg(&file).arg("--data-dir").arg(&second).output().unwrap();
    let said = String::from_utf8(restored.stderr).unwrap();
    assert!(restored.status.success(), "{said}");
    for text in ["no keys", "ca.pem", "ca.key", "--new-ca"] {
        assert!(said.contains(text), "{text} in {said}");
    }
    assert!(refused(&second, &[]).contains("--new-ca"));
    write(&second, &read(&first));
    let node = Twind::start(&second);
    assert_eq!(node.request("GET", "twins/t", None).0, 200);
    node.kill();
    assert_eq!(read(&second), read(&first));
    lose(&second);
    let node = Twind::start_with(&second, &["--new-ca"]);
    assert_eq!(node.request("GET", "twins/t", None).0, 200);
    node.kill();
}
