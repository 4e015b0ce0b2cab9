//! `twinctl backup`, against a real node and against one that breaks off.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use twin_node::{Node, NodeOptions};

use crate::twinctl::{Operator, Ran};

/// What is in the directory of backups.
fn files(operator: &Operator) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(operator.path("backups")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

/// A backup of a real node, as it went to the disk.
async fn of_a_node(operator: &Operator, more: &[&str]) -> Ran {
    let data = tempfile::tempdir().unwrap();
    let node = Node::start(NodeOptions::local(data.path())).await.unwrap();
    node.ready().await;
    fs::write(operator.path("admin.token"), node.admin_token()).unwrap();
    let (url, arguments) = (node.http_url().to_owned(), [&["backup", "backups"], more].concat());
    let ran = tokio::task::block_in_place(|| operator.run(&url, &arguments));
    node.shutdown().await;
    ran
}

/// Answers one request with this body.
pub(crate) fn node_that_says(body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.twinmesh.backup\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_a_file_that_only_its_owner_reads_and_nothing_else_is_left() {
    let operator = Operator::new();
    let ran = of_a_node(&operator, &[]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "quiet when not on a terminal: {ran:?}");
    let files = files(&operator);
    let [file] = files.as_slice() else { panic!("{files:?}") };
    assert!(ran.stdout.contains(file.file_name().unwrap().to_str().unwrap()), "{ran:?}");
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let content = fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&content);
    assert!(text.starts_with("TWINBKUP") && text.contains("PRIVATE KEY"), "the CA's key is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_keys_there_is_none_in_it() {
    let operator = Operator::new();
    let ran = of_a_node(&operator, &["--without-keys", "--json"]).await;
    let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((&said["keys"], &said["lineage"]), (&serde_json::json!(false), &serde_json::json!(1)));
    let content = fs::read(&files(&operator)[0]).unwrap();
    assert_eq!(said["bytes"], content.len());
    assert!(!String::from_utf8_lossy(&content).contains("PRIVATE KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_breaks_off_or_is_changed_on_its_way_is_not_kept() {
    let operator = Operator::new();
    of_a_node(&operator, &[]).await;
    let file = files(&operator).remove(0);
    let whole = fs::read(&file).unwrap();
    fs::remove_file(file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    let cut = |at: usize| whole[..at].to_vec();
    for (body, said) in [
        (cut(5), "cut short"),
        (cut(whole.len() / 2), "cut short"),
        (cut(whole.len() - 1), "cut short"),
        (flipped, "damaged"),
        (b"{\"not\": \"a backup\"}".to_vec(), "not a backup"),
    ] {
        let ran = operator.run(&node_that_says(body), &["backup", "backups"]);
        assert_eq!(ran.code, 1, "{ran:?}");
        assert!(ran.stderr.contains(said) && ran.stderr.contains("nothing was kept"), "{said}: {ran:?}");
        assert_eq!(files(&operator), Vec::<PathBuf>::new());
    }
    assert_eq!(operator.run(&node_that_says(whole), &["backup", "backups"]).code, 0);
}

#[test]
fn a_directory_that_cannot_be_written_is_told_before_the_node_is_asked() {
    let operator = Operator::new();
    fs::write(operator.path("backups"), "a file").unwrap();
    // Nobody listens there: had the node been asked, the exit code would be 3.
    let ran = operator.run("http://127.0.0.1:9", &["backup", "backups"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("backups"), "{ran:?}");
}
