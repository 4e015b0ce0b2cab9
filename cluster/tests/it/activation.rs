//! Twins that are brought to life, and commands that wait for their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use twin_cluster::ClusterOptions;
use twin_core::command::{Answer, Command, Precondition};
use twin_core::grain::{Answers, Reply};
use twin_core::refusal::Refusal;
use twin_storage::redb::{Database, ReadableTable as _, TableDefinition};
use twin_transports::server::Submission;

use crate::world::{World, document, put, report, sender, twin};

struct Told(mpsc::UnboundedSender<(u32, Result<Answer, Refusal>)>);

impl Answers for Told {
    fn answer(&self, index: u32, answer: Result<Answer, Refusal>) {
        self.0.send((index, answer)).unwrap();
    }
}

/// Most entries that a thousand twins may take which are made in one batch: each alone would take one. Measured 8 to 24.
const ENTRIES_MAX: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_cold_twins_are_made_together() {
    const TWINS: u32 = 1000;
    let world = World::new().await;
    let before = world.cluster.stats();
    let (told, mut answers) = mpsc::unbounded_channel();
    let told: Arc<dyn Answers> = Arc::new(Told(told));
    let submission = |at| Submission {
        twin: twin(&format!("s{at}")),
        command: put(Precondition::None),
        bytes: 10,
        reply: Reply::shared(told.clone(), at),
    };
    world.cluster.submit_all((0..TWINS).map(submission).collect());
    for _ in 0..TWINS {
        document(answers.recv().await.unwrap().1);
    }
    let after = world.cluster.stats();
    assert_eq!(after.activations - before.activations, u64::from(TWINS));
    let entries = after.entries - before.entries;
    println!("{entries} entries");
    assert!(entries <= ENTRIES_MAX, "{entries} entries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_waits_is_carried_out_in_its_order_and_then_turns_are_in_place_again() {
    const REPORTS: u32 = 300;
    let world = World::new().await;
    let gateway = sender("g");
    world.put("s").await;
    world.attach("s", &gateway, 0).await.unwrap();
    let world = world.restart().await;

    // An answer that does not return holds the seat, with the activator behind it.
    let (is_held, held) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let hold = Reply::once(move |_| {
        is_held.send(()).unwrap();
        let _ = released.recv_timeout(Duration::from_secs(60));
    });
    world.cluster.submit(&twin("s"), Command::Read, 0, hold);
    tokio::task::spawn_blocking(move || held.recv_timeout(Duration::from_secs(20))).await.unwrap().unwrap();

    let (told, mut answers) = mpsc::unbounded_channel();
    let told: Arc<dyn Answers> = Arc::new(Told(told));
    for number in 1..=REPORTS {
        let command = report(&gateway, number.into(), number.into());
        world.cluster.submit(&twin("s"), command, 100, Reply::shared(told.clone(), number));
    }
    assert!(answers.try_recv().is_err(), "somebody overtook the one who has the seat");
    release.send(()).unwrap();
    for number in 1..=REPORTS {
        assert_eq!(answers.recv().await, Some((number, Ok(Answer::Done))));
    }

    // In place a reading is answered before it returns.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    loop {
        let answered = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&answered);
        world.cluster.submit(&twin("s"), Command::Read, 0, Reply::once(move |_| tell.store(true, Ordering::SeqCst)));
        if answered.load(Ordering::SeqCst) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "turns are not taken in place any more");
        tokio::task::yield_now().await;
    }
}

/// Overwrites what is stored of a twin with something that is no row.
fn damage(state_file: &std::path::Path, id: &str) {
    let database = Database::open(state_file).unwrap();
    let write = database.begin_write().unwrap();
    {
        let mut rows = write.open_table(TableDefinition::<&[u8], &[u8]>::new("twin_head")).unwrap();
        let keys: Vec<Vec<u8>> = rows.iter().unwrap().map(|row| row.unwrap().0.value().to_vec()).collect();
        let key = keys.into_iter().find(|key| key.ends_with(id.as_bytes())).expect("the twin has a row");
        rows.insert(key.as_slice(), [0xc1].as_slice()).unwrap();
    }
    write.commit().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn all_that_waits_for_a_twin_that_cannot_be_read_is_refused_and_others_go_on() {
    const READINGS: u32 = 50;
    let world = World::new().await;
    for id in ["damaged", "sound"] {
        world.put(id).await;
    }
    let World { directory, cluster } = world;
    cluster.shutdown().await;
    drop(cluster);
    damage(&directory.path().join("state.redb"), "damaged");
    let world = World::open(directory, ClusterOptions::default()).await;

    let (told, mut answers) = mpsc::unbounded_channel();
    let told: Arc<dyn Answers> = Arc::new(Told(told));
    let submission = |at: u32| Submission {
        twin: twin(if at.is_multiple_of(2) { "damaged" } else { "sound" }),
        command: Command::Read,
        bytes: 10,
        reply: Reply::shared(told.clone(), at),
    };
    // Twice: what could not be loaded is forgotten, and tried again.
    for _ in 0..2 {
        world.cluster.submit_all((0..2 * READINGS).map(submission).collect());
        for _ in 0..2 * READINGS {
            match answers.recv().await.unwrap() {
                (at, Err(Refusal::Unavailable { message, .. })) if at.is_multiple_of(2) => {
                    assert!(message.contains("damaged"), "{message}");
                }
                (at, Ok(_)) if !at.is_multiple_of(2) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(world.cluster.stats().grains_active, 1);
    }
}
