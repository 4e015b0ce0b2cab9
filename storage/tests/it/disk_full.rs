//! A disk without room: writes are refused by name, reads go on, what is in flight is held, and all goes on when there is room.

use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use twin_storage::consensus::{LeaderId, TypeConfig, openraft, openraft::impls};
use twin_storage::{Family, Group, OpenError, Options, Pressure, Storage};

use crate::faulty_disk::FaultyDisk;
use crate::world::{CELL, append, apply, barrier, batch, bytes, eventually, log_id, put};

/// Long enough to see that something does not happen.
const A_WHILE: Duration = Duration::from_millis(400);

fn options(disk: &FaultyDisk) -> Options {
    // The least caches: reads go to the disk. Small slots: of what `large` makes one has room for one.
    Options {
        log_slot_bytes: 64 * 1024,
        checkpoint_interval: Duration::from_millis(50),
        state_cache_bytes: 0,
        disk_reserve_bytes: 0,
        ..Options::on_disk(Arc::new(disk.clone()))
    }
}

/// An entry that takes room.
fn large(index: u64) -> twin_storage::consensus::Entry {
    batch(1, index, index, vec![put(&format!("key-{index}"), &format!("{index}").repeat(50_000))])
}

async fn with_rows(disk: &FaultyDisk, options: Options) -> Storage {
    let storage = Storage::open(options).expect("there is room yet");
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let entries = vec![barrier(1, 0, 0), large(1)];
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    storage.checkpoint().await.expect("there is room yet");
    disk.leave_room(None);
    storage
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_what_is_in_flight_refuses_what_comes_and_lets_reads_go_on() {
    let disk = FaultyDisk::new();
    let storage = with_rows(&disk, options(&disk)).await;
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let budgets = storage.budgets();
    assert_eq!(budgets.admit(1), Ok(()));
    disk.leave_room(Some(0));

    // In flight when the room ends: neither acked nor failed.
    let (sent, flushed) = TypeConfig::oneshot();
    log.append([large(2), large(3)], IOFlushed::signal(sent)).await.expect("taken");
    eventually("the refusal", || budgets.disk_is_full()).await;
    let refused = budgets.admit(1).expect_err("no room");
    assert!(matches!(refused, Pressure::Disk { free_bytes: 0, .. }), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("/faulty") && text.contains("make room"), "{text}");
    assert!(refused.retry_after() >= Duration::from_secs(1), "people make room");
    let mut flushed = Box::pin(flushed);
    tokio::time::timeout(A_WHILE, &mut flushed).await.expect_err("an ack without room");
    assert!(storage.failure().borrow().is_none(), "a full disk is not a failed disk");

    // From the file, from memory, and from the log.
    let read = |key: &str| storage.reader().get(CELL, Family::TwinHot, key.as_bytes()).expect("readable");
    assert_eq!(read("key-1"), Some(bytes(&"1".repeat(50_000))));
    assert_eq!(read("key-2"), None);
    let entries = log.get_log_reader().await.try_get_log_entries(1..4).await.expect("readable");
    assert_eq!(entries, [large(1), large(2), large(3)]);

    disk.leave_room(None);
    tokio::time::timeout(Duration::from_secs(10), flushed).await.expect("in time").expect("called").expect("durable");
    eventually("writes are taken again", || budgets.admit(1).is_ok()).await;
    apply(&mut state_machine, vec![large(2), large(3)]).await;
    storage.checkpoint().await.expect("there is room");
    assert_eq!(storage.stats().disk_waits.get(), 1);
    storage.shutdown().expect("clean");
    let storage = Storage::open(options(&disk)).expect("whole");
    assert_eq!(storage.reader().applied(CELL).expect("open"), Some(log_id(1, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_waits_for_room_and_the_log_goes_on() {
    let disk = FaultyDisk::new();
    let storage = with_rows(&disk, options(&disk)).await;
    let Group { mut log, mut state_machine, durable } = storage.group(CELL);
    // The log may use what a purge left behind, the checkpoint needs more than there is.
    append(&mut log, vec![large(2), large(3), large(4)]).await;
    disk.leave_room(Some(64 * 1024));
    apply(&mut state_machine, vec![large(2), large(3), large(4)]).await;
    eventually("the checkpoint waits", || storage.stats().disk_waits.get() > 0).await;
    assert_eq!(*durable.borrow(), Some(log_id(1, 1)), "a checkpoint that waits is not durable");
    // Frozen rows that wait are read like any other.
    let read = storage.reader().get(CELL, Family::TwinHot, b"key-4").expect("readable");
    assert_eq!(read, Some(bytes(&"4".repeat(50_000))));
    disk.leave_room(None);
    eventually("the checkpoint is durable", || *durable.borrow() == Some(log_id(1, 4))).await;
    assert!(storage.failure().borrow().is_none());
    eventually("writes are taken again", || storage.budgets().admit(1).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn below_the_reserve_nothing_new_is_admitted_and_what_was_admitted_fits() {
    const RESERVE: u64 = 4 * 1024 * 1024;
    let disk = FaultyDisk::new();
    let storage = with_rows(&disk, Options { disk_reserve_bytes: RESERVE, ..options(&disk) }).await;
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let budgets = storage.budgets();
    disk.leave_room(Some(RESERVE + 100_000));
    eventually("it is looked", || budgets.disk_free_bytes() == Some(RESERVE + 100_000 - (RESERVE + 100_000) % 4096))
        .await;
    assert_eq!(budgets.admit(1), Ok(()));
    // Others fill the disk.
    disk.leave_room(Some(RESERVE - 4096));
    eventually("it is looked", || budgets.disk_is_full()).await;
    let refused = budgets.admit(1).expect_err("the reserve");
    assert!(matches!(refused, Pressure::Disk { reserve_bytes: RESERVE, .. }), "{refused}");
    // Admitted before: goes through, without a wait.
    append(&mut log, vec![large(2)]).await;
    apply(&mut state_machine, vec![large(2)]).await;
    storage.checkpoint().await.expect("it fits");
    assert_eq!(storage.stats().disk_waits.get(), 0);
    disk.leave_room(Some(2 * RESERVE));
    eventually("writes are taken again", || budgets.admit(1).is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_waits_for_room_ends_when_it_is_told_to() {
    for shut_down in [false, true] {
        let disk = FaultyDisk::new();
        let storage = with_rows(&disk, options(&disk)).await;
        let mut log = storage.group(CELL).log;
        disk.leave_room(Some(0));
        let (sent, flushed) = TypeConfig::oneshot();
        log.append([large(2)], IOFlushed::signal(sent)).await.expect("taken");
        eventually("it waits", || storage.stats().disk_waits.get() > 0).await;
        let ended = tokio::task::spawn_blocking(move || {
            if shut_down {
                return storage.shutdown();
            }
            drop(storage);
            Ok(())
        });
        let ended = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("in time").expect("no panic");
        assert_eq!(ended.is_err(), shut_down, "{ended:?}");
        flushed.await.expect("called").expect_err("it is not durable");
        // What was acked is there, and the disk has room again.
        disk.leave_room(None);
        let storage = Storage::open(options(&disk)).expect("whole");
        let last = storage.group(CELL).log.get_log_state().await.expect("readable").last_log_id;
        assert!(last >= Some(log_id(1, 1)), "{last:?}");
    }
}

/// The life before used up its slot and waited for another one; the disk has not a byte for this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_life_begins_on_a_disk_without_a_free_byte() {
    const SOON: Duration = Duration::from_secs(5);
    let disk = FaultyDisk::new();
    let storage = with_rows(&disk, options(&disk)).await;
    let mut log = storage.group(CELL).log;
    disk.leave_room(Some(0));
    let (sent, flushed) = TypeConfig::oneshot();
    log.append([large(2), large(3)], IOFlushed::signal(sent)).await.expect("taken");
    eventually("the log waits", || storage.budgets().log_waits_for_room()).await;
    drop(storage);
    flushed.await.expect("called").expect_err("it is not durable");

    for life in 2..10 {
        let storage = Storage::open(options(&disk)).expect("opened without a byte");
        let Group { mut log, mut state_machine, .. } = storage.group(CELL);
        let last = log.get_log_state().await.expect("readable").last_log_id.expect("some").index;
        tokio::time::timeout(
            SOON,
            log.save_vote(&impls::Vote { leader_id: LeaderId { term: life, voted_for: 1 }, committed: true }),
        )
        .await
        .expect("a vote waits for room")
        .expect("durable");
        let barrier = barrier(life, last + 1, 0);
        tokio::time::timeout(SOON, append(&mut log, vec![barrier.clone()])).await.expect("a barrier waits for room");
        let entries = log.get_log_reader().await.try_get_log_entries(2..=last).await.expect("readable");
        apply(&mut state_machine, entries).await;
        apply(&mut state_machine, vec![barrier]).await;
        let read = storage.reader().get(CELL, Family::TwinHot, b"key-1").expect("readable");
        assert_eq!(read, Some(bytes(&"1".repeat(50_000))));
        assert!(!storage.budgets().log_waits_for_room());
    }
    // There is room: the log goes on, and keeps a spare slot again.
    disk.leave_room(None);
    let storage = Storage::open(options(&disk)).expect("whole");
    let Group { mut log, .. } = storage.group(CELL);
    let last = log.get_log_state().await.expect("readable").last_log_id.expect("some").index;
    for index in last + 1..last + 6 {
        let rows = vec![put("more", &"x".repeat(50_000))];
        tokio::time::timeout(SOON, append(&mut log, vec![batch(10, index, index, rows)])).await.expect("there is room");
    }
    storage.shutdown().expect("clean");
}

#[tokio::test]
async fn a_start_on_a_full_disk_says_so_at_once() {
    let mut starts_from = None;
    for left in (0..10_000_u64).map(|step| step * 16 * 1024) {
        let disk = FaultyDisk::new();
        disk.leave_room(Some(left));
        let Err(error) = Storage::open(options(&disk)) else {
            starts_from = Some(left);
            break;
        };
        // Wherever that was met, it is the disk, and never the file.
        assert!(matches!(error, OpenError::NoRoom { needed_bytes: 1.., .. }), "{left} bytes left: {error}");
        let said = error.to_string();
        assert!(said.contains("is full") && said.contains("make room"), "{said}");
        disk.leave_room(None);
        drop(Storage::open(options(&disk)).expect("there is room now"));
    }
    assert!(starts_from.is_some_and(|bytes| bytes > 0), "{starts_from:?}");
}

/// A disk that takes its time, and a load that knows no pause but the admission's.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_is_pushed_back_on_and_memory_stays_within_its_budgets() {
    const DIRTY_MAX: u64 = 600_000;
    const LOG_MAX: u64 = 500_000;
    const ENTRY: u64 = 60_000;
    let disk = FaultyDisk::new();
    let budget = Options { dirty_bytes_max: DIRTY_MAX, log_bytes_max: LOG_MAX, ..options(&disk) };
    let storage = Storage::open(budget).expect("fresh");
    let Group { mut log, mut state_machine, mut durable } = storage.group(CELL);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
    disk.be_slow(Duration::from_micros(500));
    let budgets = storage.budgets();
    let (mut refused, mut most_dirty, mut most_log) = (0, 0, 0);
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let (mut index, mut purged) = (1, None);
    while index <= 60 {
        assert!(until.elapsed().is_zero(), "60 entries in a minute: stuck at {index}, {budgets:?}");
        if let Err(pressure) = budgets.admit(ENTRY) {
            assert!(!matches!(pressure, Pressure::Disk { .. }), "slow is not full");
            refused += 1;
            // As the cluster's log keeper does.
            let covered = *durable.borrow_and_update();
            if covered > purged {
                purged = covered;
                log.purge(covered.expect("above something")).await.expect("open");
            }
            tokio::time::timeout(pressure.retry_after(), durable.changed()).await.ok();
            continue;
        }
        let entry = batch(1, index, index, vec![put(&format!("key-{index}"), &"v".repeat(50_000))]);
        let (sent, flushed) = TypeConfig::oneshot();
        log.append([entry.clone()], IOFlushed::signal(sent)).await.expect("open");
        flushed.await.expect("called").expect("slow, not broken");
        apply(&mut state_machine, vec![entry]).await;
        most_dirty = most_dirty.max(budgets.dirty_bytes());
        most_log = most_log.max(budgets.log_bytes());
        index += 1;
    }
    assert!(refused > 0, "3 MB went into 0.6 MB without a refusal");
    // What was in flight when a budget was reached: one entry.
    assert!(most_dirty <= DIRTY_MAX + ENTRY, "{most_dirty}");
    assert!(most_log <= LOG_MAX + ENTRY, "{most_log}");
    disk.be_slow(Duration::ZERO);
    storage.checkpoint().await.expect("the disk works");
    assert_eq!(storage.reader().applied(CELL).expect("open"), Some(log_id(1, 60)));
}
