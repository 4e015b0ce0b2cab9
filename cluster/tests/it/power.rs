//! Power cuts under a whole node: what it answered is there when it starts again, versions never went back, and what is sent again takes
//! effect once.
//!
//! The power goes at every fifth call to the disk, with `TWINMESH_POWER_CUTS=all` at each; storage's own tests cut at each call in
//! any case. `TWINMESH_SEED` (any number, printed) decides with which call it begins, and what becomes of what was not synced. Threads
//! and timers decide what a call is, so a run is not repeated to the call.

use std::sync::Arc;
use std::time::Duration;

use twin_cluster::{Cluster, ClusterOptions};
use twin_core::clock::SystemClock;
use twin_core::command::{Answer, Command, Precondition};
use twin_core::document::TwinDocument;
use twin_core::grain::Reply;
use twin_core::numbers::AttachmentNo;
use twin_core::refusal::Refusal;
use twin_core::value::{Number, Value};
use twin_faulty_disk::{Chance, Fate, FaultyDisk};
use twin_storage::{Options, Storage};

use crate::faulty_disk::NodeDisk;
use crate::world::{document, put, report, reported, sender, twin};

const STRIDE: u64 = 5;
/// A script has at least so many calls.
const CALLS_MIN: u64 = 60;
const ROUNDS: u64 = 4;
/// Reports of a round, which are under way together.
const REPORTS: u64 = 5;
/// A command on a disk without power may never be answered.
const PATIENCE: Duration = Duration::from_secs(3);

async fn start(disk: &FaultyDisk) -> Option<Cluster> {
    let mut options = Options::on_disk(Arc::new(NodeDisk(disk.clone())));
    // Many of them in a script.
    options.checkpoint_interval = Duration::from_millis(5);
    let storage = Storage::open(options).ok()?;
    let start = Cluster::start(storage, ClusterOptions::default(), Arc::new(SystemClock::new()));
    tokio::time::timeout(PATIENCE, start).await.ok()?.ok()
}

/// What the node answered of a twin.
#[derive(Debug, Default)]
struct Seen {
    /// Incarnation, and versions of tags, desired and reported: the highest that were answered.
    versions: [u64; 4],
    /// The last answer: is it there? `None` while a change is under way, or was never answered.
    exists: Option<bool>,
}

fn versions(document: &TwinDocument) -> [u64; 4] {
    [
        document.incarnation.get(),
        document.tags_version.get(),
        document.desired_version.get(),
        document.reported_version.get(),
    ]
}

/// The number of the last report that took effect; 0: none did.
fn value_of(document: &TwinDocument) -> u64 {
    match reported(document) {
        None => 0,
        Some(Value::Number(Number::Integer(value))) => value.cast_unsigned(),
        other => panic!("{other:?}"),
    }
}

impl Seen {
    fn saw(&mut self, document: &TwinDocument, when: &str) {
        let now = versions(document);
        let went_back = now.iter().zip(&self.versions).any(|(now, before)| now < before);
        assert!(!went_back, "{when}: {} went back from {:?} to {now:?}", document.id, self.versions);
        self.versions = now;
        self.exists = Some(true);
    }
}

/// Who sends commands, and remembers the answers.
#[derive(Debug, Default)]
struct Witness {
    steady: Seen,
    /// Deleted and made again in each round.
    mortal: Seen,
    /// Reports of the steady twin: numbers sent, and the highest with all before it acknowledged.
    sent: u64,
    acked: u64,
}

async fn call(cluster: &Cluster, id: &str, command: Command) -> Option<Result<Answer, Refusal>> {
    match tokio::time::timeout(PATIENCE, cluster.call(&twin(id), command, 100)).await {
        // The storage failed, or nobody leads any more.
        Err(_) | Ok(Err(Refusal::Unavailable { .. })) => None,
        Ok(answer) => Some(answer),
    }
}

impl Witness {
    async fn made(&mut self, cluster: &Cluster, id: &str, when: &str) -> Option<()> {
        let seen = if id == "steady" { &mut self.steady } else { &mut self.mortal };
        seen.exists = None;
        let made = document(call(cluster, id, put(Precondition::None)).await?);
        seen.saw(&made, when);
        Some(())
    }

    /// Sends all reports that were not acknowledged, and some more.
    async fn report(&mut self, cluster: &Cluster, more: u64) -> Option<()> {
        self.sent += more;
        let gateway = sender("g");
        let answers: Vec<_> = (self.acked + 1..=self.sent)
            .map(|number| {
                let (told, answer) = tokio::sync::oneshot::channel();
                let reply = Reply::once(move |answer| drop(told.send(answer)));
                cluster.submit(&twin("steady"), report(&gateway, number, number), 100, reply);
                answer
            })
            .collect();
        for answer in answers {
            match tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()? {
                Ok(Answer::Done | Answer::Duplicate) => self.acked += 1,
                Err(Refusal::Unavailable { .. } | Refusal::Gap { .. }) => return None,
                other => panic!("{other:?}"),
            }
        }
        Some(())
    }

    /// `None`: the power went.
    async fn script(&mut self, cluster: &Cluster, when: &str) -> Option<()> {
        for round in 0..ROUNDS {
            self.made(cluster, "steady", when).await?;
            if round == 0 {
                let attach = Command::Attach { sender: sender("g"), saw: AttachmentNo::default(), may_create: false };
                assert!(matches!(call(cluster, "steady", attach).await?, Ok(Answer::Attached { .. })), "{when}");
            }
            self.report(cluster, REPORTS).await?;
            let read = document(call(cluster, "steady", Command::Read).await?);
            assert_eq!(value_of(&read), self.sent, "{when}");
            self.steady.saw(&read, when);
            self.made(cluster, "mortal", when).await?;
            self.mortal.exists = None;
            let deleted = call(cluster, "mortal", Command::Delete { precondition: Precondition::None }).await?;
            assert!(deleted.is_ok(), "{when}: {deleted:?}");
            self.mortal.exists = Some(false);
        }
        Some(())
    }

    /// What was answered is there, and nothing of it is older.
    async fn verify(&mut self, cluster: &Cluster, when: &str) {
        for (id, seen) in [("steady", &mut self.steady), ("mortal", &mut self.mortal)] {
            match call(cluster, id, Command::Read).await.expect("answered") {
                Ok(Answer::Document { document, .. }) => {
                    assert_ne!(seen.exists, Some(false), "{when}: {id} was deleted");
                    seen.saw(&document, when);
                    if id == "steady" {
                        let value = value_of(&document);
                        assert!((self.acked..=self.sent).contains(&value), "{when}: {value}");
                    }
                }
                Err(Refusal::NotFound { .. }) => assert_ne!(seen.exists, Some(true), "{when}: {id} is gone"),
                other => panic!("{when}: {other:?}"),
            }
        }
    }
}

/// Says whether the script came so far.
async fn cut(call_number: u64, fate: Fate, seed: u64) -> bool {
    let when = format!("seed {seed}, {fate:?} at call {call_number}");
    let (disk, mut witness) = (FaultyDisk::new(), Witness::default());
    disk.cut_at(call_number, fate, seed ^ call_number);
    if let Some(cluster) = start(&disk).await {
        let _whole = witness.script(&cluster, &when).await;
        // What has no power does not stop by itself.
        drop(tokio::time::timeout(PATIENCE, cluster.shutdown()).await);
    }
    let came_so_far = disk.is_off();
    disk.power_on();
    let cluster = start(&disk).await.unwrap_or_else(|| panic!("{when}: the node does not start"));
    witness.verify(&cluster, &when).await;

    // It goes on: what was not acknowledged is sent again, and each report has one effect.
    witness.made(&cluster, "steady", &when).await.expect("answered");
    let attach = Command::Attach { sender: sender("g"), saw: AttachmentNo::default(), may_create: false };
    assert!(call(&cluster, "steady", attach).await.expect("answered").is_ok(), "{when}");
    witness.report(&cluster, 1).await.unwrap_or_else(|| panic!("{when}: {witness:?}"));
    let read = document(call(&cluster, "steady", Command::Read).await.expect("answered"));
    witness.steady.saw(&read, &when);
    assert_eq!(read.reported_version.get(), 1 + witness.sent, "{when}: one effect each");
    witness.made(&cluster, "mortal", &when).await.expect("answered");
    cluster.shutdown().await;
    came_so_far
}

#[test]
fn a_node_that_loses_power_keeps_what_it_answered_and_no_version_goes_back() {
    let seed = std::env::var("TWINMESH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    let all = std::env::var("TWINMESH_POWER_CUTS").is_ok_and(|cuts| cuts == "all");
    let stride = if all { 1 } else { STRIDE };
    println!("seed {seed}, every {stride} calls (TWINMESH_POWER_CUTS=all: each)");
    let mut number = Chance(seed).below(stride);
    loop {
        let fate = Fate::ALL[Chance(seed ^ number).below(4) as usize];
        // Of its own: with it ends what still runs without power.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let came_so_far = runtime.block_on(cut(number, fate, seed));
        runtime.shutdown_timeout(PATIENCE);
        if !came_so_far {
            break;
        }
        number += stride;
    }
    println!("the script ends before call {number}");
    assert!(number >= CALLS_MIN, "the script makes {number} calls only");
}
