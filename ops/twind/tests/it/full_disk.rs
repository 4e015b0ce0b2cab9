//! A node on a disk of which others have taken everything.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use twin_visible_skip::skipped;

use crate::process::{Twind, twind};

/// A file system of its own, of this size; gone at the end.
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// `None`, and said so: not permitted here.
    pub fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !mounted {
            skipped(&format!("a node on a full disk: mounting a tmpfs of {size} needs root"));
        }
        mounted.then_some(Self(dir))
    }

    pub fn data_dir(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// Others take all there is, to the last byte.
    pub fn fill(&self) {
        let mut others = File::create(self.0.path().join("others")).unwrap();
        while others.write_all(&[7; 4096]).is_ok() {}
        assert!(File::create(self.0.path().join("one")).unwrap().write_all(&[7]).is_err(), "not a byte is left");
    }

    pub fn make_room(&self) {
        std::fs::remove_file(self.0.path().join("others")).unwrap();
    }

    /// Others take all but so much.
    pub fn leave(&self, bytes: u64) {
        self.fill();
        let others = File::options().write(true).open(self.0.path().join("others")).unwrap();
        others.set_len(others.metadata().unwrap().len() - bytes).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // If it fails, the folder stays behind and says so.
        drop(Command::new("umount").arg(self.0.path()).status());
    }
}

/// What is asked without a token: status and body. `None`: nobody answers.
pub fn ask_at(addr: SocketAddr, path: &str) -> Option<(u16, Value)> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).unwrap_or_default()))
}

fn ask(node: &Twind, path: &str) -> (u16, Value) {
    ask_at(node.door.addr, path).unwrap()
}

pub fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn put(node: &Twind, twin: &str, value: u64) -> (u16, Value) {
    node.request("PUT", &format!("twins/{twin}"), Some(json!({"tags": {"value": value}})))
}

fn value(node: &Twind, twin: &str) -> Value {
    let (status, read) = node.request("GET", &format!("twins/{twin}"), None);
    assert_eq!(status, 200, "{read}");
    read["tags"]["value"].clone()
}

#[test]
fn a_node_starts_and_reads_on_a_disk_without_a_byte_and_takes_writes_once_there_is_room() {
    for killed in [false, true] {
        let Some(disk) = Disk::new("200m") else { return };
        let node = Twind::start(&disk.data_dir());
        for twin in 0..20 {
            assert_eq!(put(&node, &format!("t{twin}"), twin).0, 201);
        }
        if killed {
            node.kill();
        } else {
            node.signal("-TERM");
            assert!(node.wait().0.success());
        }
        disk.fill();
        let begun = Instant::now();
        let node = Twind::start(&disk.data_dir());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        assert_eq!(ask(&node, "/healthz").0, 200);
        let (status, said) = ask(&node, "/readyz");
        assert_eq!((status, &said["code"]), (503, &json!("disk-full")), "{said}");
        let detail = said["detail"].as_str().unwrap();
        for part in [disk.data_dir().to_str().unwrap(), "0 bytes left", "67108864", "make room"] {
            assert!(detail.contains(part), "{part}: {detail}");
        }
        assert_eq!(value(&node, "t7"), 7);
        let (status, refused) = put(&node, "t7", 8);
        assert_eq!(status, 429, "{refused}");
        assert!(refused["retryAfterMs"].as_u64().is_some_and(|ms| ms >= 1000), "{refused}");
        assert_eq!(node.metric("twinmesh_disk_free_bytes"), 0);
        disk.make_room();
        assert!(node.metric("twinmesh_disk_free_bytes") > 100_000_000, "looked at when it is asked for");
        until("ready", || ask(&node, "/readyz").0 == 200);
        until("a write", || put(&node, "t7", 9).0 == 200);
        assert_eq!(value(&node, "t7"), 9);
        node.signal("-TERM");
        assert!(node.wait().0.success());
    }
}

/// The log's file is one whose slots have no blocks of their own, as after a restore by a tool that leaves holes.
#[test]
fn a_start_whose_log_finds_no_room_says_so_and_goes_on_by_itself() {
    let Some(disk) = Disk::new("200m") else { return };
    let data_dir = disk.data_dir();
    let node = Twind::start(&data_dir);
    let mut value_now = 0;
    // Until the page that the log ends in has no room for what a start writes: that page is no hole.
    loop {
        value_now += 1;
        assert!(put(&node, "t", value_now).0 < 300 && value_now < 100);
        // What is known to be committed is written in the next quiet moment.
        std::thread::sleep(Duration::from_millis(300));
        let journal = std::fs::read(data_dir.join("log.journal")).unwrap();
        let end = (journal.iter().rposition(|byte| *byte != 0).unwrap() + 1).next_multiple_of(512);
        if end.next_multiple_of(4096) - end <= 512 {
            break;
        }
    }
    node.kill();
    let dug = Command::new("fallocate").arg("--dig-holes").arg(data_dir.join("log.journal")).status();
    if !dug.is_ok_and(|status| status.success()) {
        skipped("a start whose log finds no room: there is no fallocate that digs holes");
        return;
    }
    disk.fill();
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let starting = std::thread::spawn({
        let data_dir = data_dir.clone();
        move || Twind::start_with(&data_dir, &["--http", &addr.to_string()])
    });
    until("an answer", || ask_at(addr, "/healthz").is_some_and(|(status, _)| status == 200));
    let (status, said) = ask_at(addr, "/readyz").unwrap();
    assert_eq!((status, &said["code"]), (503, &json!("disk-full")), "{said}");
    assert!(said["detail"].as_str().unwrap().contains(data_dir.to_str().unwrap()), "{said}");
    let (status, said) = ask_at(addr, "/api/v1/twins/t").unwrap();
    assert!(status == 503 && said["retryAfterMs"].as_u64().is_some(), "{said}");
    // Longer than a barrier is waited for.
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(ask_at(addr, "/healthz").unwrap().0, 200);
    disk.make_room();
    let begun = Instant::now();
    let node = starting.join().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    until("ready", || ask(&node, "/readyz").0 == 200);
    assert_eq!(value(&node, "t"), value_now);
    node.signal("-TERM");
    assert!(node.wait().0.success());
}

#[test]
fn what_meets_the_full_disk_is_answered_and_the_node_stops_and_keeps_what_it_acknowledged() {
    let Some(disk) = Disk::new("200m") else { return };
    let node = Twind::start(&disk.data_dir());
    assert_eq!(put(&node, "t", 0).0, 201);
    disk.fill();
    let mut acked = 0;
    for value in 1..200 {
        let begun = Instant::now();
        let (status, answer) = put(&node, "t", value);
        assert!(begun.elapsed() < Duration::from_secs(5), "{status} after {:?}", begun.elapsed());
        match status {
            200 => acked = value,
            429 | 503 => assert!(answer["retryAfterMs"].as_u64().is_some(), "{answer}"),
            other => panic!("{other}: {answer}"),
        }
    }
    let begun = Instant::now();
    assert!(value(&node, "t").as_u64() >= Some(acked));
    node.signal("-TERM");
    let (status, _) = node.wait();
    assert!(status.success() && begun.elapsed() < Duration::from_secs(10), "{status} after {:?}", begun.elapsed());
    let node = Twind::start(&disk.data_dir());
    assert!(value(&node, "t").as_u64() >= Some(acked), "acked {acked}");
    node.kill();
}

/// The refusal is right, as a backup is a change that must be seen, and it says what is wrong. Lines that are lost are told by their number.
#[test]
fn what_the_audit_log_has_no_room_for_is_told_as_the_disk_and_not_a_thousand_times() {
    let Some(disk) = Disk::new("200m") else { return };
    let log = tempfile::NamedTempFile::new().unwrap();
    let node = Twind::start_logging(&disk.data_dir(), log.reopen().unwrap());
    assert_eq!(put(&node, "t", 1).0, 201);
    disk.fill();
    let (mut lost, begun) = (0, Instant::now());
    // What the newest files have of their pages is still written.
    until("a backup is refused", || node.request("POST", "backup", None).0 == 503);
    while lost < 300 {
        let before = node.metric("twinmesh_audit_lost_total");
        let (status, refused) = node.request("POST", "backup", None);
        assert_eq!((status, &refused["code"]), (503, &json!("audit-unavailable")), "{refused}");
        let detail = refused["detail"].as_str().unwrap();
        for text in ["disk is full", disk.data_dir().to_str().unwrap(), "make room", "nothing was changed"] {
            assert!(detail.contains(text), "{text}: {detail}");
        }
        put(&node, "t", lost);
        lost += node.metric("twinmesh_audit_lost_total") - before;
    }
    node.signal("-TERM");
    assert!(node.wait().0.success());
    let seconds = begun.elapsed().as_secs();
    let said = std::fs::read_to_string(log.path()).unwrap();
    let told = said.lines().filter(|line| line.contains("audit log")).count() as u64;
    assert!((1..=3 * seconds + 6).contains(&told), "{told} lines in {seconds} s for {lost} that are lost");
}

/// What a batch of these lines was answered: a result a line.
fn batch(node: &Twind, path: &str, lines: &[Value]) -> Vec<Value> {
    let url = format!("{}/api/v1/{path}", node.ready["http"].as_str().unwrap());
    let body = lines.iter().fold(String::new(), |body, line| body + &line.to_string() + "\n");
    let answer = ureq::post(&url)
        .header("Authorization", format!("Bearer {}", node.token))
        .content_type("application/x-ndjson")
        .send(&body)
        .unwrap();
    let results = answer.into_body().read_to_string().unwrap();
    results.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_batch_on_a_full_disk_is_answered_item_by_item_as_soon_as_a_single_change() {
    let Some(disk) = Disk::new("200m") else { return };
    let node = Twind::start(&disk.data_dir());
    let ids: Vec<String> = (0..300).map(|number| format!("t{number}")).collect();
    let changes = |value: u64| ids.iter().map(|id| json!({"id": id, "tags": {"value": value}})).collect::<Vec<_>>();
    assert!(batch(&node, "imports", &changes(1)).iter().all(|result| result["status"] == 201));
    disk.fill();
    until("it is looked", || ask(&node, "/readyz").0 == 503);
    for path in ["twins:batchUpdate", "imports"] {
        let begun = Instant::now();
        let results = batch(&node, path, &changes(2));
        assert!(begun.elapsed() < Duration::from_secs(5), "{path}: {:?}", begun.elapsed());
        assert_eq!(results.len(), ids.len());
        let (status, single) = put(&node, "t7", 3);
        for (result, id) in results.iter().zip(&ids) {
            assert_eq!(result["id"], **id);
            assert_eq!((&result["status"], &result["code"]), (&json!(status), &single["code"]), "{result}");
            assert_eq!(result["retryAfterMs"], single["retryAfterMs"], "{result}");
        }
    }
    disk.make_room();
    until("a write", || put(&node, "t7", 9).0 == 200);
    let results = batch(&node, "twins:batchUpdate", &changes(4));
    assert!(results.iter().all(|result| result["status"] == 200), "{results:?}");
    node.kill();
}

/// Others take the last byte while a batch is under way: what was given to the log waits there, and what comes behind it is refused.
#[test]
fn a_batch_that_meets_the_full_disk_is_answered_soon_and_to_its_end() {
    let Some(disk) = Disk::new("200m") else { return };
    let node = Twind::start(&disk.data_dir());
    let changes = |value: u64| {
        (0..2_000)
            .map(|n| json!({"id": format!("t{n}"), "tags": {"value": value, "filler": "x".repeat(500)}}))
            .collect::<Vec<_>>()
    };
    assert!(batch(&node, "imports", &changes(0)).iter().all(|result| result["status"] == 201));
    disk.fill();
    let mut slowest = Duration::ZERO;
    // The first of them find what is left in the log's slots.
    for value in 1..200 {
        let begun = Instant::now();
        let results = batch(&node, "twins:batchUpdate", &changes(value));
        slowest = slowest.max(begun.elapsed());
        assert_eq!(results.len(), 2_000);
        let refused: Vec<&Value> = results.iter().filter(|result| result["status"] != 200).collect();
        assert!(refused.iter().all(|result| result["retryAfterMs"].as_u64().is_some()), "{refused:?}");
        if refused.len() == results.len() {
            break;
        }
    }
    println!("the slowest batch took {slowest:?}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    disk.make_room();
    until("a write", || put(&node, "t7", 9).0 == 200);
    node.kill();
}

#[test]
fn a_first_start_on_a_disk_that_is_too_small_says_how_much_it_needs() {
    let Some(disk) = Disk::new("48m") else { return };
    let dir = disk.data_dir();
    let ran = twind(&["dev", "--data-dir", dir.to_str().unwrap(), "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0"])
        .output()
        .unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(!ran.status.success());
    let free = said.split(" bytes free").next().unwrap().rsplit(' ').next().unwrap().parse::<u64>().unwrap();
    let needed = said.split("needs ").nth(1).unwrap().split(':').next().unwrap().parse::<u64>().unwrap();
    assert!(free <= 48 << 20 && needed > 64 << 20 && needed < 128 << 20, "{said}");
    // And with that much it starts, and takes a write.
    let Some(disk) = Disk::new(&(needed + (1 << 20)).to_string()) else { return };
    let node = Twind::start(&disk.data_dir());
    assert_eq!(put(&node, "t", 1).0, 201);
    node.kill();
}
