//! A disk without room: what would need some is refused by name, what was promised stays, sending goes on, and all goes on when there
//! is room. On a disk in memory, and on a real one of a megabyte.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use twin_faulty_disk::FaultyDisk;
use twin_gateway::redb::StorageBackend;
use twin_gateway::{AppendError, Gateway, OUTBOX_FILE, Options, OutboxDisk, Report, ReportError};
use twin_visible_skip::skipped;

use crate::node::{Node, World, eventually, id, within};

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(400);

/// The faulty disk as the outbox's.
#[derive(Clone, Debug)]
struct Faulty(FaultyDisk);

impl OutboxDisk for Faulty {
    fn open(&self) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        self.0.open(OUTBOX_FILE)
    }

    fn put_in_place(&self) -> io::Result<()> {
        self.0.put_in_place(OUTBOX_FILE)
    }

    fn path(&self) -> PathBuf {
        Path::new("/faulty").join(OUTBOX_FILE)
    }
}

fn options(node: &Node, disk: &FaultyDisk) -> Options {
    Options { disk: Some(Arc::new(Faulty(disk.clone()))), ..node.options("g1", Path::new("/unused")) }
}

/// Nobody is there.
fn offline(options: Options) -> Options {
    Options { node: "127.0.0.1:9".into(), ..options }
}

type Waiting = tokio::task::JoinHandle<Result<(), ReportError>>;

/// Reports until the outbox finds no room: how many were promised, and the one that waits for it.
async fn fill(gateway: &Gateway) -> (u64, Waiting) {
    for promised in 0..10_000 {
        let reporting = gateway.clone();
        let mut report = tokio::spawn(async move {
            let filler = "x".repeat(3_000);
            reporting.report(&id(&format!("filler-{promised}")), &json!({ "filler": filler })).await.map(drop)
        });
        loop {
            match tokio::time::timeout(A_WHILE, &mut report).await {
                Ok(done) => break done.unwrap().expect("promised, or waiting"),
                Err(_) if gateway.status().disk_full => return (promised, report),
                // A slow disk.
                Err(_) => {}
            }
        }
    }
    panic!("10,000 reports found room");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_by_name_keeps_what_was_promised_and_goes_on_when_there_is_room() {
    let node = Node::start(World::new(true));
    let disk = FaultyDisk::new();
    let gateway = Gateway::open(offline(options(&node, &disk))).unwrap();
    let label = id("label");
    for n in 1..=20 {
        gateway.report(&label, &json!({ "n": n })).await.unwrap();
    }
    disk.leave_room(Some(0));
    let (_, mut last) = fill(&gateway).await;
    let refused = gateway.report(&label, &json!({"n": 21})).await.unwrap_err();
    assert!(matches!(&refused, ReportError::Append(AppendError::NoRoom { .. })), "{refused}");
    assert!(refused.is_full() && refused.retry_after() >= Some(Duration::from_secs(1)), "{refused}");
    let told = refused.to_string();
    assert!(told.contains("/faulty/outbox.redb") && told.contains("make room"), "{told}");
    tokio::time::timeout(A_WHILE, &mut last).await.expect_err("a promise without room");
    let status = gateway.status();
    assert!(status.disk_full && status.disk_failure.is_none(), "a full disk is not a failed disk");

    disk.leave_room(None);
    within("the promise", last).await.unwrap().unwrap();
    eventually("reports are taken again", || !gateway.status().disk_full).await;
    gateway.report(&label, &json!({"n": 22})).await.unwrap();
    let messages = gateway.status().backlog_messages;
    assert!(messages >= 22, "{messages}");
    gateway.shutdown().await;
    drop(gateway);
    let gateway = Gateway::open(options(&node, &disk)).unwrap();
    assert_eq!(gateway.status().backlog_messages, messages);
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"n":22}"#);
    assert_eq!(node.world.reported_version(&label), 22, "each of 21 once, on top of the attach");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_what_the_node_acks_is_taken_and_the_backlog_is_sent() {
    let node = Node::start(World::new(true));
    let disk = FaultyDisk::new();
    // Nothing is written before it is durable with the node, if that is quick.
    let gateway = Gateway::open(options(&node, &disk)).unwrap();
    let label = id("label");
    within("the ack", gateway.report(&label, &json!({"n": 0})).await.unwrap().acked()).await.unwrap();
    eventually("what was attached is durable", || gateway.status().flash_written_bytes > 0).await;
    disk.leave_room(Some(0));
    // What has to be written, and is more than the file keeps, finds that there is no room.
    let filler = twin_core::json::parse(json!({"filler": "x".repeat(4_000)}).to_string().as_bytes(), "test").unwrap();
    let fillers = (1..=400).map(|n| Report::new(id(&format!("filler-{n}")), filler.clone()).at("source", n));
    let found = tokio::spawn({
        let (gateway, fillers) = (gateway.clone(), fillers.collect());
        async move { gateway.report_all(fillers).await.map(drop) }
    });
    eventually("no room", || gateway.status().disk_full).await;
    for n in 1..=50 {
        let receipt = within("the promise", gateway.report(&label, &json!({ "n": n }))).await.unwrap();
        within("the ack", receipt.acked()).await.unwrap();
    }
    assert_eq!(node.world.reported(&label), r#"{"n":50}"#);
    // What its ack cannot promise alone is refused: a position, a device whose attachment the file does not know.
    for refused in [
        gateway.report_at(&label, &json!({"n": 51}), "source", 500).await.unwrap_err(),
        gateway.report(&id("new"), &json!({"n": 1})).await.unwrap_err(),
    ] {
        assert!(matches!(&refused, ReportError::Append(AppendError::NoRoom { .. })), "{refused}");
    }
    assert!(!found.is_finished(), "a position is promised by the disk only");
    disk.leave_room(None);
    within("the promise", found).await.unwrap().unwrap();
    within("all acks", gateway.drained()).await.unwrap();
    gateway.report_at(&label, &json!({"n": 52}), "source", 501).await.unwrap();
    gateway.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_waits_for_room_ends_when_it_is_told_to_and_starts_again() {
    let node = Node::start(World::new(true));
    let disk = FaultyDisk::new();
    let brief = Options { drain_timeout: Duration::ZERO, ..offline(options(&node, &disk)) };
    let gateway = Gateway::open(brief).unwrap();
    gateway.report(&id("label"), &json!({"n": 1})).await.unwrap();
    disk.leave_room(Some(0));
    let (_, waiting) = fill(&gateway).await;
    assert!(!within("the end", gateway.shutdown()).await);
    let error = within("an answer", waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, ReportError::NotDurable { .. }), "{error}");
    drop(gateway);
    let gateway = Gateway::open(options(&node, &disk)).unwrap();
    assert!(gateway.status().backlog_messages >= 1);
    disk.leave_room(None);
    within("all acks", gateway.drained()).await.unwrap();
    gateway.shutdown().await;
}

/// A first start has none of the pages that are kept for later ones.
#[tokio::test]
async fn a_first_start_on_a_full_disk_says_why_not() {
    let node = Node::start(World::new(true));
    let disk = FaultyDisk::new();
    disk.leave_room(Some(0));
    let error = Gateway::open(options(&node, &disk)).unwrap_err().to_string();
    assert!(error.contains("/faulty/outbox.redb") && error.contains("has room"), "{error}");
}

/// Stops it at once, with what it has.
async fn stop(gateway: Gateway) {
    gateway.shutdown().await;
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_opens_on_a_full_disk_sends_what_it_has_and_takes_more_once_there_is_room() {
    let node = Node::start(World::new(true));
    for (reports, bytes) in [(0, 0), (1, 10), (7, 200), (400, 200), (700, 4_000)] {
        let disk = FaultyDisk::new();
        let brief = || Options { drain_timeout: Duration::ZERO, ..offline(options(&node, &disk)) };
        let label = id(&format!("label-{reports}"));
        let gateway = Gateway::open(brief()).unwrap();
        for n in 1..=reports {
            let report = json!({ "n": n, "filler": "x".repeat(bytes) });
            gateway.report(&label, &report).await.unwrap();
        }
        let messages = gateway.status().backlog_messages;
        stop(gateway).await;
        disk.leave_room(Some(0));
        // As often as its supervisor likes to start it.
        for round in 0..20 {
            let opened = Gateway::open(brief());
            let gateway = opened.unwrap_or_else(|error| panic!("{reports} reports, start {round}: {error}"));
            assert_eq!(gateway.status().backlog_messages, messages);
            stop(gateway).await;
        }
        let gateway = Gateway::open(options(&node, &disk)).unwrap();
        if reports > 0 {
            within("all acks", gateway.drained()).await.unwrap();
            assert!(node.world.reported(&label).ends_with(&format!("\"n\":{reports}}}")));
        }
        // Whatever this needs, it gets with the room.
        let last = tokio::spawn({
            let (gateway, label) = (gateway.clone(), label.clone());
            async move { gateway.report_at(&label, &json!({"n": 999}), "source", 1).await.map(drop) }
        });
        // Long enough for it to meet the full disk.
        let finds_out = async {
            while !last.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        drop(tokio::time::timeout(A_WHILE, finds_out).await);
        disk.leave_room(None);
        // Refused by name meanwhile, or promised now.
        if let Err(refused) = within("an answer", last).await.unwrap() {
            assert!(matches!(&refused, ReportError::Append(AppendError::NoRoom { .. })), "{refused}");
            eventually("reports are taken again", || !gateway.status().disk_full).await;
            gateway.report_at(&label, &json!({"n": 999}), "source", 1).await.unwrap();
        }
        within("all acks", gateway.drained()).await.unwrap();
        assert!(node.world.reported(&label).contains("\"n\":999"));
        stop(gateway).await;
    }
}

/// A file system of its own, of this size; gone at the end.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(std::process::Stdio::null())
            .status();
        mount.is_ok_and(|status| status.success()).then_some(Self(dir))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // If it fails, the folder stays behind and says so.
        drop(std::process::Command::new("umount").arg(self.0.path()).status());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_disk_without_room_is_no_other() {
    let Some(mounted) = Mounted::new("3m") else {
        skipped("an outbox on a real full disk: mounting a tmpfs of 3 MB needs root");
        return;
    };
    let node = Node::start(World::new(true));
    let state = mounted.0.path().join("state");
    let gateway = Gateway::open(offline(node.options("g1", &state))).unwrap();
    let label = id("label");
    gateway.report(&label, &json!({"n": 1})).await.unwrap();
    let (promised, waiting) = fill(&gateway).await;
    let refused = gateway.report(&label, &json!({"n": 2})).await.unwrap_err();
    assert!(matches!(&refused, ReportError::Append(AppendError::NoRoom { .. })), "{refused}");
    // The owner makes room.
    let status = std::process::Command::new("mount").args(["-o", "remount,size=64m"]).arg(mounted.0.path()).status();
    assert!(status.unwrap().success());
    within("the promise", waiting).await.unwrap().unwrap();
    assert!(promised > 100, "{promised}");
    gateway.report(&label, &json!({"n": 3})).await.unwrap();
    gateway.shutdown().await;
    drop(gateway);
    let gateway = Gateway::open(node.options("g1", &state)).unwrap();
    assert_eq!(gateway.status().backlog_messages, promised + 3, "what was promised, and nothing else");
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"n":3}"#);
    gateway.shutdown().await;
    drop(gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_was_stopped_opens_on_a_real_disk_of_which_others_took_the_last_byte() {
    let Some(mounted) = Mounted::new("8m") else {
        println!("SKIPPED: mounting a tmpfs of 8 MB needs root");
        return;
    };
    let node = Node::start(World::new(true));
    let (state, others) = (mounted.0.path().join("state"), mounted.0.path().join("others"));
    let brief = |options| Options { drain_timeout: Duration::ZERO, ..options };
    let gateway = Gateway::open(brief(offline(node.options("g1", &state)))).unwrap();
    let label = id("label");
    gateway.report(&label, &json!({"n": 1})).await.unwrap();
    stop(gateway).await;
    let mut taken = std::fs::File::create(&others).unwrap();
    while io::Write::write_all(&mut taken, &[7; 4096]).is_ok() {}
    for _ in 0..5 {
        stop(Gateway::open(brief(offline(node.options("g1", &state)))).unwrap()).await;
    }
    let gateway = Gateway::open(node.options("g1", &state)).unwrap();
    within("all acks", gateway.drained()).await.unwrap();
    assert_eq!(node.world.reported(&label), r#"{"n":1}"#);
    std::fs::remove_file(others).unwrap();
    gateway.report(&label, &json!({"n": 2})).await.unwrap();
    stop(gateway).await;
}
