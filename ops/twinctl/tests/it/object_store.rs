//! `twinctl backup s3://...` and `backup-fetch`, against a real S3 server where there is one (`pip install 'moto[server]'`).

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use twin_backup::{Frame, Manifest, Writer};
use twin_visible_skip::skipped;

use crate::backup::node_that_says;
use crate::twinctl::{Operator, Ran, command};

/// A store with a bucket `backups`.
struct Moto {
    process: Child,
    address: String,
}

impl Moto {
    /// `None`: there is none here, which is said.
    fn start() -> Option<Self> {
        let there = Command::new("moto_server").arg("--help").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            skipped("backups to an object store: no moto_server here");
            return None;
        }
        let mut process = Command::new("moto_server")
            .args(["-H", "127.0.0.1", "-p", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (told, address) = mpsc::channel();
        let stderr = process.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("http://127.0.0.1:") {
                    let _ = told.send(format!("127.0.0.1:{}", address.split_whitespace().next().unwrap_or_default()));
                }
            }
        });
        let address = address.recv_timeout(Duration::from_secs(60)).expect("moto_server says where it listens");
        let moto = Self { process, address };
        assert!(moto.ask("PUT", "/backups").starts_with("HTTP/1.1 200"));
        Some(moto)
    }

    fn ask(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            self.address
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn run(&self, operator: &Operator, arguments: &[&str]) -> Ran {
        let output = command(operator.path("").as_path())
            .args(arguments)
            .env("AWS_ENDPOINT_URL", format!("http://{}", self.address))
            .envs([
                ("AWS_ACCESS_KEY_ID", "who"),
                ("AWS_SECRET_ACCESS_KEY", "secret-of-who"),
                ("AWS_REGION", "us-east-1"),
            ])
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let ran = Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) };
        assert!(!format!("{ran:?}").contains("secret-of-who"), "the secret was shown: {ran:?}");
        ran
    }

    fn back_up(&self, operator: &Operator, body: Vec<u8>, to: &str) -> Ran {
        self.run(operator, &["--url", &node_that_says(body), "--token-file", "admin.token", "backup", to])
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A backup as a node sends it, of about so many bytes, that do not repeat.
fn backup(at: &str, bytes: usize) -> Vec<u8> {
    let manifest = Manifest {
        node: "0123456789abcdef".into(),
        created_at: format!("2026-11-21T17:30:{at}.000Z"),
        release: "0".into(),
        storage_format: 1,
        lineage: 3,
        keys: false,
        rows_estimate: 0,
        bytes_estimate: bytes as u64,
        sealed: None,
    };
    let (mut writer, mut out) = Writer::begin(&manifest, None);
    out.extend(writer.frame(&Frame::Group(1)));
    let mut word = 7_u64;
    while out.len() < bytes {
        let rows = (0..8192).flat_map(|_| {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            word.to_be_bytes()
        });
        out.extend(writer.frame(&Frame::Rows { count: 1, bytes: rows.collect() }));
    }
    out.extend(writer.frame(&Frame::GroupEnd { group: 1, covered: vec![0] }));
    out.extend(writer.end());
    out
}

#[test]
fn a_backup_goes_to_an_object_store_in_parts_and_comes_back_as_it_was() {
    let Some(moto) = Moto::start() else { return };
    let operator = Operator::new();
    // One put, and several parts.
    for (at, bytes) in [("01", 100_000), ("02", 20 * 1024 * 1024)] {
        let whole = backup(at, bytes);
        let ran = moto.back_up(&operator, whole.clone(), "s3://backups/nodes/a");
        assert_eq!(ran.code, 0, "{ran:?}");
        let name = format!("twinmesh-01234567-20261121T1730{at}Z.twinbackup");
        let object = format!("s3://backups/nodes/a/{name}");
        assert!(ran.stdout.starts_with(&object), "{ran:?}");
        let ran = moto.run(&operator, &["--json", "backup-fetch", &object, "fetched"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let file = operator.path("fetched").join(&name);
        assert!(fs::read(&file).unwrap() == whole, "{bytes} bytes");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let said: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((said["bytes"].as_u64(), said["lineage"].as_u64()), (Some(whole.len() as u64), Some(3)));

        let again = moto.back_up(&operator, whole, "s3://backups/nodes/a");
        assert_eq!(again.code, 1, "{again:?}");
        assert!(again.stderr.contains("never replaces"), "{again:?}");
    }
    assert_eq!(moto.ask("GET", "/backups?uploads").matches("<Upload>").count(), 0, "nothing is left half done");
}

#[test]
fn what_breaks_off_is_no_object_and_leaves_no_parts() {
    let Some(moto) = Moto::start() else { return };
    let operator = Operator::new();
    let mut cut = backup("01", 20 * 1024 * 1024);
    cut.truncate(18 * 1024 * 1024);
    let ran = moto.back_up(&operator, cut, "s3://backups/p");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("cut short") && ran.stderr.contains("nothing was kept"), "{ran:?}");
    assert_eq!(moto.ask("GET", "/backups?uploads").matches("<Upload>").count(), 0);
    assert!(!moto.ask("GET", "/backups?list-type=2").contains("<Key>"), "there is no object");

    let gone = moto.run(&operator, &["backup-fetch", "s3://backups/p/none.twinbackup", "fetched"]);
    assert_eq!(gone.code, 1, "{gone:?}");
    assert!(gone.stderr.contains("no such object"), "{gone:?}");
    let ran = moto.back_up(&operator, backup("02", 1000), "s3://nobodys/p");
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("s3://nobodys/p"), "{ran:?}");
    assert_eq!(fs::read_dir(operator.path("fetched")).unwrap().count(), 0);
}

#[test]
fn what_is_no_place_is_told_before_anybody_is_asked() {
    let operator = Operator::new();
    for (place, said) in [("s3://", "names no bucket"), ("gs://b/p", "neither a directory nor s3://")] {
        let ran = operator.run("http://127.0.0.1:9", &["backup", place]);
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.stderr.contains(said), "{ran:?}");
    }
    let ran = operator.run("http://127.0.0.1:9", &["backup-fetch", "s3://b/p/notes.txt", "."]);
    assert_eq!((ran.code, ran.stderr.contains("is no backup")), (2, true), "{ran:?}");
}

#[test]
fn without_keys_nobody_is_asked_for_any_unless_that_is_asked_for() {
    let operator = Operator::new();
    let begun = std::time::Instant::now();
    for arguments in [&["backup", "s3://b/p"][..], &["backup-fetch", "s3://b/p/x.twinbackup", "."]] {
        let ran = operator.run("http://127.0.0.1:9", arguments);
        assert_eq!(ran.code, 2, "{ran:?}");
        for said in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_EC2_METADATA_DISABLED=false"] {
            assert!(ran.stderr.contains(said), "{ran:?}");
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody was waited for");
    // Half of a pair is told as that.
    let half = command(operator.path("").as_path())
        .args(["backup-fetch", "s3://b/p/x.twinbackup", "."])
        .envs([("AWS_ACCESS_KEY_ID", "who"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&half.stderr).into_owned();
    assert!(half.status.code() == Some(2) && told.contains("SecretAccessKey"), "{told}");
    // Named, it is asked: here, where somebody listens and hangs up.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let metadata = format!("http://{}", listener.local_addr().unwrap());
    let (asked, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = [0; 512];
            let n = stream.read(&mut head).unwrap_or(0);
            let _ = asked.send(String::from_utf8_lossy(&head[..n]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let output = command(operator.path("").as_path())
        .args(["backup-fetch", "s3://b/p/x.twinbackup", "."])
        .envs([("AWS_METADATA_ENDPOINT", metadata.as_str()), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")])
        .output()
        .unwrap();
    assert_ne!(output.status.code(), Some(0));
    let first = heard.recv_timeout(Duration::from_secs(10)).expect("the metadata service is asked");
    assert!(first.contains("/latest/"), "{first}");
}
