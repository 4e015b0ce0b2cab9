//! A backup of a node that works, and a node made of it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;
use twin_core::ids::TwinId;
use twin_core::json::parse;
use twin_gateway::{Credentials, Gateway, Options, Report};

use crate::process::{Twind, twind};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Takes a backup into a file.
pub fn back_up(node: &Twind, to: &Path) -> Vec<u8> {
    let url = format!("{}/api/v1/backup", node.ready["http"].as_str().unwrap());
    let answer = ureq::post(&url).header("Authorization", format!("Bearer {}", node.token)).send_empty().unwrap();
    assert_eq!(answer.headers()["content-type"], "application/vnd.twinmesh.backup");
    let mut bytes = Vec::new();
    answer.into_body().into_reader().read_to_end(&mut bytes).unwrap();
    std::fs::write(to, &bytes).unwrap();
    bytes
}

pub fn restore(from: &Path, to: &Path, more: &[&str]) -> Result<Value, String> {
    let output = twind(&["restore", "--from"]).arg(from).arg("--data-dir").arg(to).args(more).output().unwrap();
    if output.status.success() {
        assert!(output.stderr.is_empty(), "quiet when not on a terminal: {}", String::from_utf8_lossy(&output.stderr));
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    Err(said)
}

/// A gateway that reports a rising `n` of its devices, and takes over whatever is desired.
struct Loaded {
    gateway: Gateway,
    quic: String,
    credentials: String,
    state: tempfile::TempDir,
    devices: Vec<TwinId>,
    /// Of all its devices: what was reported, and what of it was acknowledged.
    reported: Arc<AtomicU64>,
    acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Loaded {
    fn add(node: &Twind, name: &str, devices: usize) -> Self {
        let (status, credentials) = node.request("POST", "sites/store/gateways", Some(json!({ "name": name })));
        assert_eq!(status, 201, "{credentials}");
        let devices = (0..devices).map(|number| TwinId::new(&format!("{name}-d{number}")).unwrap()).collect();
        let state = tempfile::tempdir().unwrap();
        Self::open(node.ready["quic"].as_str().unwrap(), credentials.to_string(), state, devices, 0)
    }

    fn open(quic: &str, credentials: String, state: tempfile::TempDir, devices: Vec<TwinId>, from: u64) -> Self {
        let parsed = Credentials::from_json(&credentials).unwrap();
        let gateway = Gateway::open(Options::new(quic, parsed, state.path())).unwrap();
        let (reported, acked) = (Arc::new(AtomicU64::new(from)), Arc::new(AtomicU64::new(from)));
        let stop = Arc::<AtomicBool>::default();
        let quic = quic.to_owned();
        let mut loaded = Self { gateway, quic, credentials, state, devices, reported, acked, stop, tasks: Vec::new() };
        loaded.tasks = vec![tokio::spawn(loaded.report()), tokio::spawn(loaded.follow())];
        loaded
    }

    fn report(&self) -> impl Future<Output = ()> + use<> {
        let (gateway, devices) = (self.gateway.clone(), self.devices.clone());
        let (reported, acked, stop) = (self.reported.clone(), self.acked.clone(), self.stop.clone());
        async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            while !stop.load(Ordering::Relaxed) {
                pace.tick().await;
                let n = reported.load(Ordering::Relaxed) + 1;
                let value = parse(format!("{{\"n\": {n}}}").as_bytes(), "test").unwrap();
                let reports = devices.iter().map(|twin| Report::new(twin.clone(), value.clone())).collect();
                let receipts = gateway.report_all(reports).await.unwrap();
                reported.store(n, Ordering::Relaxed);
                gateway.event(&devices[0], "tick", &json!({ "n": n })).await.unwrap();
                let acked = acked.clone();
                tokio::spawn(async move {
                    // Otherwise the gateway was shut down; what is refused for good is counted as dead letters.
                    if receipts.acked().await.is_ok() {
                        acked.fetch_max(n, Ordering::Relaxed);
                    }
                });
            }
        }
    }

    fn follow(&self) -> impl Future<Output = ()> + use<> {
        let (gateway, changes) = (self.gateway.clone(), self.gateway.desired());
        async move {
            while let Some(change) = changes.recv().await {
                if gateway.ack_desired(&change.twin, change.version).await.is_err() {
                    // Shut down meanwhile.
                    return;
                }
            }
        }
    }

    /// The process ends and another begins on the same outbox.
    async fn again(mut self) -> Self {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.remove(0).await.unwrap();
        self.gateway.shutdown().await;
        self.tasks.remove(0).await.unwrap();
        let from = self.reported.load(Ordering::Relaxed);
        Self::open(&self.quic, self.credentials, self.state, self.devices, from)
    }

    /// Reports no more, and waits until all is taken.
    async fn drain(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.remove(0).await.unwrap();
        let drained = tokio::time::timeout(TIMEOUT, self.gateway.drained()).await;
        drained.unwrap_or_else(|_| panic!("wedged: {:?}", self.gateway.status())).unwrap();
    }
}

/// Hears a device until its gateway has it.
async fn insist(gateway: &Loaded, twin: &TwinId, n: u64) {
    for _ in 0..60 {
        let receipt = gateway.gateway.report(twin, &json!({ "n": n })).await.unwrap();
        if let Ok(acked) = tokio::time::timeout(Duration::from_secs(1), receipt.acked()).await {
            return acked.unwrap();
        }
    }
    panic!("{twin} is not taken: {:?}", gateway.gateway.link(twin));
}

/// What must not go back.
fn versions(twin: &Value) -> [u64; 4] {
    let properties = &twin["properties"];
    let incarnation = twin["etag"].as_str().unwrap().split('-').next().unwrap().trim_start_matches('"');
    [
        twin["version"].as_u64().unwrap(),
        properties["desired"]["$version"].as_u64().unwrap(),
        properties["reported"]["$version"].as_u64().unwrap(),
        incarnation.parse().unwrap(),
    ]
}

fn all_twins(node: &Twind) -> BTreeMap<String, Value> {
    let (status, page) = node.request("GET", "twins?limit=1000", None);
    assert_eq!(status, 200);
    let twins = page["twins"].as_array().unwrap().clone();
    twins.into_iter().map(|twin| (twin["deviceId"].as_str().unwrap().to_owned(), twin)).collect()
}

fn reported_n(twins: &BTreeMap<String, Value>, id: &TwinId) -> u64 {
    twins[id.as_str()]["properties"]["reported"]["n"].as_u64().unwrap_or(0)
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_restored_from_a_backup_under_load_goes_on_with_gateways_that_know_more() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let node = Twind::start(&first);
    assert_eq!(node.request("PUT", "sites/store", Some(json!({"enrolment": "open"}))).0, 201);
    let quic = node.ready["quic"].as_str().unwrap().to_owned();
    let mut gateways: Vec<Loaded> = (0..3).map(|number| Loaded::add(&node, &format!("g{number}"), 30)).collect();
    until("all devices reported", || gateways.iter().all(|g| g.acked.load(Ordering::Relaxed) > 20));
    for price in 1..=3 {
        assert_eq!(node.request("PATCH", "twins/g0-d0", Some(json!({"desired": {"price": price}}))).0, 200);
    }

    let (roamer, made_later) = (TwinId::new("roamer").unwrap(), TwinId::new("made-later").unwrap());
    insist(&gateways[1], &roamer, 1).await;

    // What was acknowledged before is in it; the gateways go on meanwhile.
    let acked_before: Vec<u64> = gateways.iter().map(|gateway| gateway.acked.load(Ordering::Relaxed)).collect();
    let file = folder.path().join("a.twinbackup");
    let bytes = tokio::task::block_in_place(|| back_up(&node, &file));
    println!("a backup of {} bytes", bytes.len());

    // All that the backup does not know: more reports and desired changes, a device that roams, one that is new, a gateway that
    // was started again.
    let acked = |gateways: &[Loaded]| gateways.iter().map(|g| g.acked.load(Ordering::Relaxed)).min().unwrap();
    let goal = acked(&gateways) + 30;
    until("more was reported", || acked(&gateways) > goal);
    for price in 4..=9 {
        assert_eq!(node.request("PATCH", "twins/g0-d0", Some(json!({"desired": {"price": price}}))).0, 200);
    }
    let restarted = gateways.remove(0).again().await;
    gateways.insert(0, restarted);
    insist(&gateways[2], &roamer, 2).await;
    insist(&gateways[2], &made_later, 1).await;
    let desired_of_0 = || node.request("GET", "twins/g0-d0", None).1["convergence"]["/price"]["state"].clone();
    until("the last price was taken over", || desired_of_0() == "applied");
    let goal = acked(&gateways) + 10;
    until("more was reported", || acked(&gateways) > goal);
    let lost = all_twins(&node);
    node.kill();

    let restored = restore(&file, &second, &[]).unwrap();
    assert_eq!((&restored["lineage"], &restored["keys"]), (&json!(2), &json!(true)));
    // First alone: what is there is from the backup.
    let node = Twind::start(&second);
    let backup = all_twins(&node);
    for (gateway, acked) in gateways.iter().zip(acked_before) {
        for device in &gateway.devices {
            assert!(reported_n(&backup, device) >= acked, "{device}: {} of {acked}", reported_n(&backup, device));
        }
    }
    assert!(reported_n(&backup, &gateways[0].devices[0]) < reported_n(&lost, &gateways[0].devices[0]));
    assert_eq!(backup["g0-d0"]["properties"]["desired"]["price"], 3);
    assert!(!backup.contains_key(made_later.as_str()));
    for (id, twin) in &backup {
        let (now, before) = (versions(twin), versions(&lost[id]));
        assert!(now.iter().zip(before).all(|(now, before)| *now > before), "{id}: {now:?} after {before:?}");
    }
    node.kill();

    // Now the gateways find it where the first one was.
    let node = Twind::start_at(&second, &quic, &[]);
    let goal = acked(&gateways) + 10;
    until("all are acked again", || acked(&gateways) > goal);
    gateways[2].gateway.report(&made_later, &json!({"n": 2})).await.unwrap().acked().await.unwrap();
    // The one that served it last serves it still, though the backup says another: nothing of its is thrown away.
    gateways[2].gateway.report(&roamer, &json!({"n": 7})).await.unwrap().acked().await.unwrap();
    for gateway in &mut gateways {
        gateway.drain().await;
        let status = gateway.gateway.status();
        assert_eq!(status.conflicts, 0, "{status:?}");
        // What its first gateway, which the backup took for the current one, had to say of it meanwhile.
        assert!(gateway.gateway.dead_letters().iter().all(|letter| letter.twin == roamer), "{status:?}");
        assert!(status.counters.numbers_lost > 0, "what was lost is counted: {:?}", status.counters);
        println!("numbers lost: {}", status.counters.numbers_lost);
    }
    let now = all_twins(&node);
    for gateway in &gateways {
        for device in &gateway.devices {
            assert_eq!(reported_n(&now, device), gateway.reported.load(Ordering::Relaxed), "{device}");
        }
    }
    assert_eq!((reported_n(&now, &made_later), reported_n(&now, &roamer)), (2, 7));
    for (id, twin) in &now {
        let before = lost.get(id).map(versions).unwrap_or_default();
        assert!(versions(twin).iter().zip(before).all(|(now, before)| *now > before), "{id}");
    }
    // The price of the backup is what is desired now, and the device is told.
    let converged = || node.request("GET", "twins/g0-d0", None).1["convergence"]["/price"]["state"].clone();
    until("the restored price was taken over", || converged() == "applied");
    assert_eq!(node.request("PATCH", "twins/g0-d0", Some(json!({"desired": {"price": 10}}))).0, 200);
    until("a new price was taken over", || converged() == "applied");
    for gateway in gateways {
        gateway.gateway.shutdown().await;
    }
    node.kill();
}

/// A node with a few twins, and a backup of it.
fn small() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let node = Twind::start(&folder.path().join("node"));
    for number in 0..20 {
        let path = format!("twins/t{number}");
        assert_eq!(node.request("PUT", &path, Some(json!({"desired": {"a": number}}))).0, 201);
    }
    let file = folder.path().join("a.twinbackup");
    let bytes = back_up(&node, &file);
    node.kill();
    (folder, file, bytes)
}

#[test]
fn what_is_cut_or_changed_is_refused_and_leaves_nothing() {
    let (folder, file, bytes) = small();
    let target = folder.path().join("target");
    let changed = folder.path().join("changed");
    let at = [0, 9, 40, bytes.len() / 2, bytes.len() - 1];
    let cut = at.map(|at| bytes[..at].to_vec());
    let flipped = at.map(|at| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        bytes
    });
    for bad in cut.into_iter().chain(flipped) {
        std::fs::write(&changed, bad).unwrap();
        let said = restore(&changed, &target, &[]).unwrap_err();
        assert!(said.contains("changed"), "it names the file: {said}");
        assert!(!target.exists() || std::fs::read_dir(&target).unwrap().next().is_none(), "{said}");
    }
    assert!(restore(&folder.path().join("none"), &target, &[]).is_err());
    assert!(restore(&file, &target, &[]).is_ok());
}

#[test]
fn a_directory_that_holds_something_is_refused_and_left_as_it_is() {
    let (folder, file, _) = small();
    let node = folder.path().join("node");
    let before = std::fs::read(node.join("state.redb")).unwrap();
    let said = restore(&file, &node, &[]).unwrap_err();
    assert!(said.contains("is not empty") && said.contains("another"), "{said}");
    assert_eq!(std::fs::read(node.join("state.redb")).unwrap(), before);
}

#[test]
fn a_restore_that_was_cut_short_is_no_node() {
    let (folder, file, _) = small();
    let target = folder.path().join("target");
    restore(&file, &target, &[]).unwrap();
    std::fs::write(target.join("restore.unfinished"), "").unwrap();
    let output = twind(&["dev", "--http", "127.0.0.1:0", "--quic", "127.0.0.1:0", "--log", "error", "--data-dir"])
        .arg(&target)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && said.contains("restore.unfinished") && said.contains("restore again"),
        "{said}"
    );
}

#[test]
fn each_restore_is_a_lineage_of_its_own_and_one_that_goes_back_is_refused() {
    let (folder, file, _) = small();
    let desired = |dir: &Path| {
        let node = Twind::start(dir);
        let twin = node.request("GET", "twins/t7", None).1;
        node.kill();
        assert_eq!(twin["properties"]["desired"]["a"], 7);
        versions(&twin)[1]
    };
    let (once, again, more) = (folder.path().join("once"), folder.path().join("again"), folder.path().join("more"));
    restore(&file, &once, &[]).unwrap();
    let first = desired(&once);
    assert!(first > 1 << 32);
    // The same backup a second time: the operator says which time it is.
    assert_eq!(restore(&file, &again, &["--lineage", "3"]).unwrap()["lineage"], 3);
    assert!(desired(&again) > first);
    let said = restore(&file, &more, &["--lineage", "1"]).unwrap_err();
    assert!(said.contains("lineage 1 cannot follow lineage 1"), "{said}");
    // A backup of what was restored.
    let node = Twind::start(&once);
    let next = folder.path().join("b.twinbackup");
    back_up(&node, &next);
    node.kill();
    assert_eq!(restore(&next, &more, &[]).unwrap()["lineage"], 3);
    assert!(desired(&more) > first);
}
