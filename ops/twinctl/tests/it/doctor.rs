//! `twinctl doctor`, at nodes that are well and at nodes that are not.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use serde_json::Value;
use twin_node::{Node, NodeOptions};

use crate::server::{Server, answer, json, problem};
use crate::twinctl::{Operator, Ran, command};

/// A real node, and the runtime that it runs on.
struct Patient {
    runtime: tokio::runtime::Runtime,
    dir: tempfile::TempDir,
    node: Option<Node>,
}

impl Patient {
    fn new(http: [u8; 4]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut options = NodeOptions::local(dir.path());
        options.http = SocketAddr::from((http, 0));
        let node = runtime.block_on(async {
            let node = Node::start(options).await.unwrap();
            node.ready().await;
            node
        });
        Self { runtime, dir, node: Some(node) }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn port(&self) -> &str {
        self.node.as_ref().unwrap().http_url().rsplit_once(':').unwrap().1
    }

    /// With the node's own token.
    fn examined(&self, url: &str, more: &[&str]) -> Ran {
        let output = command(self.path())
            .args(["doctor", "--url", url, "--token-file", "admin.token"])
            .args(more)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Drop for Patient {
    fn drop(&mut self) {
        if let Some(node) = self.node.take() {
            self.runtime.block_on(node.shutdown());
        }
    }
}

#[track_caller]
fn says(ran: &Ran, level: &str, check: &str, texts: &[&str]) {
    let start = format!("{level:<5}  {check:<11}  ");
    let said = ran.stdout.lines().any(|line| line.starts_with(&start) && texts.iter().all(|text| line.contains(text)));
    assert!(said, "{start}{texts:?} is not in\n{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_node_that_is_well_is_told_so() {
    let patient = Patient::new([127, 0, 0, 1]);
    let url = format!("http://127.0.0.1:{}", patient.port());
    let ran = patient.examined(&url, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{}", ran.stdout);
    for check in ["reachable", "clock", "version", "ready", "pressure", "token", "gateways", "disk"] {
        says(&ran, "ok", check, &[]);
    }
    // The test has just started it.
    says(&ran, "warn", "uptime", &["-> if nobody did that"]);
    assert_eq!(ran.stdout.lines().filter(|line| !line.starts_with("ok")).count(), 1, "{}", ran.stdout);

    let ran = patient.examined(&url, &["--json"]);
    let lines: Vec<Value> = ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["check"] == "ready" && line["level"] == "ok"), "{}", ran.stdout);

    std::fs::write(patient.path().join("other.token"), "0123456789012345678901234567890123456789012\n").unwrap();
    let ran = patient.examined(&url, &["--token-file", "other.token"]);
    assert_eq!(ran.code, 2, "an option twice: {}", ran.stderr);
    std::fs::rename(patient.path().join("other.token"), patient.path().join("admin.token")).unwrap();
    let ran = patient.examined(&url, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (1, "twinctl: 1 wrong, 1 to look at\n"));
    says(&ran, "WRONG", "token", &["-> give --token-file"]);

    let ran = patient.examined(&url.replace("http:", "https:"), &["--ca", "ca.pem"]);
    assert_eq!(ran.code, 3);
    says(&ran, "WRONG", "tls", &["speaks no TLS", "-> a node that listens on loopback"]);
}

#[test]
fn tls_is_looked_at_and_its_faults_are_told_apart() {
    let patient = Patient::new([0, 0, 0, 0]);
    let other = Patient::new([127, 0, 0, 1]);
    let url = format!("https://127.0.0.1:{}", patient.port());
    let ran = patient.examined(&url, &["--ca", "ca.pem"]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    says(&ran, "ok", "certificate", &["is the first to end, in 29", " days"]);
    let other_ca = other.path().join("ca.pem");
    let ran = patient.examined(&url, &["--ca", other_ca.to_str().unwrap()]);
    assert_eq!(ran.code, 3);
    says(&ran, "WRONG", "tls", &["not of this CA", "-> give --ca"]);
    let ran = patient.examined(&url.replace("127.0.0.1", "127.0.0.2"), &["--ca", "ca.pem"]);
    assert_eq!(ran.code, 3);
    says(&ran, "WRONG", "tls", &["does not carry the name", "--tls-name"]);
}

#[test]
fn a_node_that_is_not_there_or_does_not_answer_is_told_apart() {
    let operator = Operator::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let ran = operator.run(&url, &["doctor"]);
    assert_eq!(ran.code, 3);
    says(&ran, "WRONG", "reachable", &["nothing listens there", "systemctl status twind"]);

    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let listening = std::thread::spawn(move || {
        let (mut stream, _) = silent.accept().unwrap();
        let mut bytes = Vec::new();
        // Until the doctor has had enough.
        let _ = stream.read_to_end(&mut bytes);
    });
    let ran = operator.run(&url, &["doctor"]);
    assert_eq!(ran.code, 3);
    says(&ran, "WRONG", "reachable", &["no answer in time"]);
    listening.join().unwrap();

    let proxy = Server::start([answer("502 Bad Gateway", "", "<h1>Bad Gateway</h1>")]);
    let ran = operator.run(&proxy.url(), &["doctor"]);
    assert_eq!(ran.code, 1);
    says(&ran, "WRONG", "reachable", &["answers 502", "proxy"]);
}

const METRICS: &str = "# TYPE twinmesh_ready gauge\ntwinmesh_ready 0\ntwinmesh_uptime_seconds 7200\n\
    twinmesh_disk_free_bytes 1000\ntwinmesh_disk_full 1\n\
    twinmesh_admitted_bytes 95\ntwinmesh_admitted_bytes_max 100\ntwinmesh_log_bytes 10\ntwinmesh_log_bytes_max 100\n\
    twinmesh_dirty_bytes 90\ntwinmesh_dirty_bytes_max 100\ntwinmesh_commands_total 50\ntwinmesh_commands_busy_total 50\n\
    twinmesh_chain_poisonings_total 3\ntwinmesh_quic_sessions_total 500\n";

const SITES: &str = r#"{"sites":[{"id":"s","gateways":[
    {"name":"away","connected":false,"connectedAt":null,"status":null},
    {"name":"back","connected":true,"connectedAt":"2026-01-01T00:00:00.5Z",
     "status":{"uptimeMs":9000000,"backlogBytes":90,"backlogBytesMax":100,"deadLetters":2}},
    {"name":"new","connected":true,"connectedAt":"2026-01-01T00:00:10Z",
     "status":{"uptimeMs":11000,"backlogBytes":0,"backlogBytesMax":100,"deadLetters":0}},
    {"name":"weak","connected":true,"connectedAt":"2026-01-01T00:00:10Z","certificateEndsAt":"2026-01-20T00:00:00Z",
     "status":{"uptimeMs":11000,"backlogBytes":0,"backlogBytesMax":100,"deadLetters":0,"oldestMessageMs":60000,
      "batteryPercent":19,"onBattery":true,"packetsSent":1000,"packetsLost":51}},
    {"name":"well","connected":true,"connectedAt":"2026-01-01T00:00:10Z","certificateEndsAt":"2026-02-20T00:00:00Z",
     "status":{"uptimeMs":11000,"backlogBytes":0,"backlogBytesMax":100,"deadLetters":0,"oldestMessageMs":59000,
      "batteryPercent":20,"onBattery":false,"packetsSent":1000,"packetsLost":50}}]}]}"#;

#[test]
fn each_fault_is_a_line_with_its_remedy() {
    let dated = |status: &str, body: &str| answer(status, "Date: Thu, 01 Jan 2026 00:00:30 GMT\r\n", body);
    let server = Server::start([
        dated("200 OK", "{}"),
        json("200 OK", r#"{"info":{"version":"99.0.0"}}"#),
        dated("200 OK", METRICS),
        problem("503 Service Unavailable", "", r#"{"detail":"the cell has no leader here"}"#),
        json("200 OK", r#"{"nodes":[]}"#),
        dated("200 OK", SITES),
    ]);
    let ran = Operator::new().run(&server.url(), &["doctor"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    says(&ran, "ok", "reachable", &[]);
    says(&ran, "warn", "clock", &[" s behind the one here", "timedatectl"]);
    says(&ran, "warn", "version", &["the node is 99.0.0", "-> use the twinctl of the node's release"]);
    says(&ran, "WRONG", "ready", &["the cell has no leader here", "-> "]);
    says(&ran, "WRONG", "disk", &["no room", "make room"]);
    says(&ran, "warn", "pressure", &["commands not answered: 95 bytes of a budget of 100"]);
    says(&ran, "warn", "pressure", &["rows without a checkpoint"]);
    says(&ran, "warn", "pressure", &["50 of 100 commands"]);
    says(&ran, "warn", "chain", &["broke 3 times"]);
    says(&ran, "ok", "uptime", &["2.0 h"]);
    says(&ran, "warn", "gateways", &["1 not connected: s/away"]);
    says(&ran, "warn", "gateways", &["1 connected again within the last minute", ": s/back"]);
    says(&ran, "warn", "gateways", &["1 with an outbox that is nearly full: s/back"]);
    says(&ran, "warn", "gateways", &["1 with dead letters: s/back"]);
    for what in [
        "with a backlog whose oldest message is older than a minute",
        "on battery",
        "with a battery that is nearly empty",
        "whose links lose packets",
        "with certificates that end within 30 days",
    ] {
        says(&ran, "warn", "gateways", &[&format!("1 {what}: s/weak")]);
    }
    says(&ran, "warn", "gateways", &["each came again 50 times an hour"]);
    assert!(!ran.stdout.contains("log not purged"), "{}", ran.stdout);
    assert_eq!(ran.stderr, "twinctl: 2 wrong, 16 to look at\n");
    let asked: Vec<String> = (0..6).map(|_| server.asked().line).collect();
    let paths = ["/healthz", "/openapi.json", "/metrics", "/readyz", "/api/v1/nodes", "/api/v1/sites"];
    assert_eq!(asked, paths.map(|path| format!("GET {path}")), "it reads, and changes nothing");
}
