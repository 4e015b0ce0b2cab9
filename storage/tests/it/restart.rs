//! What is there after a crash or a stop.

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use twin_storage::consensus::Entry;
use twin_storage::consensus::openraft;
use twin_storage::limits::LOG_PURGE_BYTES;
use twin_storage::{Family, Group, OpenedFiles};

use crate::world::{CELL, append, apply, barrier, batch, bytes, crash_copy, delete, fresh, log_id, open, options, put};

/// What openraft reads at a time at a start.
const STRETCH: u64 = 64;

#[tokio::test]
async fn a_crash_loses_nothing_that_was_acked() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let first = vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("a", "1")])];
    append(&mut log, first.clone()).await;
    apply(&mut state_machine, first.clone()).await;
    storage.checkpoint().await.expect("the disk works");
    let second = vec![batch(1, 2, 2, vec![put("a", "2"), put("b", "2")])];
    append(&mut log, second.clone()).await;
    apply(&mut state_machine, second.clone()).await;
    log.save_committed(Some(log_id(1, 2))).await.expect("open");
    append(&mut log, vec![batch(1, 3, 3, vec![])]).await;

    // No shutdown: the files as they are at this moment.
    let copy = crash_copy(directory.path());
    let storage = open(copy.path());
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    assert_eq!(state_machine.applied_state().await.expect("readable").0, Some(log_id(1, 1)), "the checkpoint's");
    assert_eq!(log.read_committed().await.expect("readable"), Some(log_id(1, 2)));
    let behind = log.get_log_reader().await.try_get_log_entries(2..3).await.expect("the log has the rest");
    assert_eq!(behind, second);
    apply(&mut state_machine, behind).await;
    let reader = storage.reader();
    assert_eq!(reader.get(CELL, Family::TwinHot, b"a").expect("readable"), Some(bytes("2")));
    assert_eq!(reader.get(CELL, Family::TwinHot, b"b").expect("readable"), Some(bytes("2")));
}

#[tokio::test]
async fn a_dropped_storage_can_be_opened_again_at_once() {
    let (directory, storage) = fresh();
    let Group { mut log, .. } = storage.group(CELL);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    let reader = storage.reader();
    drop(storage);
    // Handles that outlive it fail, they do not hang and do not hold the files.
    assert!(log.save_committed(None).await.is_err());
    let storage = open(directory.path());
    assert_eq!(storage.groups(), [CELL]);
    let state = storage.group(CELL).log.get_log_state().await.expect("readable");
    assert_eq!(state.last_log_id, Some(log_id(1, 0)));
    drop(reader);
}

#[tokio::test]
async fn a_clean_stop_leaves_nothing_to_apply_again() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let entries = vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("a", "1")])];
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    log.save_committed(Some(log_id(1, 1))).await.expect("open");
    storage.shutdown().expect("the disk works");
    let storage = open(directory.path());
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    assert_eq!(state_machine.applied_state().await.expect("readable").0, Some(log_id(1, 1)));
    assert_eq!(log.read_committed().await.expect("readable"), Some(log_id(1, 1)));
}

#[tokio::test]
async fn the_log_that_a_start_after_a_kill_walks_is_short() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let budgets = storage.budgets();
    let value = "v".repeat(100_000);
    let (mut n, mut purges) = (1, 0);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
    while n < 500 {
        let entries: Vec<_> = (n..n + 20).map(|n| batch(1, n, n, vec![put(&format!("label-{n}"), &value)])).collect();
        append(&mut log, entries.clone()).await;
        apply(&mut state_machine, entries).await;
        n += 20;
        // As a checkpoint a second does, and who keeps the log short when it was made.
        storage.checkpoint().await.expect("the disk works");
        if budgets.should_purge() {
            log.purge(log_id(1, n - 1)).await.expect("open");
            purges += 1;
        }
    }
    // Long before a thousand entries, or half of the budget: these have 50 MB.
    assert!(purges >= 4, "purged {purges} times");
    let copy = crash_copy(directory.path());
    let opened = OpenedFiles::open(options(copy.path())).expect("ours").openings();
    assert!(!opened.state.walked, "{opened:?}");
    assert!(opened.log_bytes <= LOG_PURGE_BYTES + 20 * 110_000, "{opened:?}");
    storage.shutdown().expect("the disk works");
    let stopped = OpenedFiles::open(options(directory.path())).expect("ours").openings();
    assert!(!stopped.state.walked, "{stopped:?}");
}

/// A log of `count` entries on the disk, read back by nobody yet.
async fn written(count: u64) -> (tempfile::TempDir, Vec<Entry>) {
    let (directory, storage) = fresh();
    let Group { mut log, .. } = storage.group(CELL);
    let value = "v".repeat(300);
    let rows = |n: u64| vec![put(&format!("label-{n}"), &value), put("label-0", &n.to_string()), delete("gone")];
    let entries: Vec<_> =
        std::iter::once(barrier(1, 0, 0)).chain((1..count).map(|n| batch(1, n, n, rows(n)))).collect();
    append(&mut log, entries.clone()).await;
    storage.shutdown().expect("the disk works");
    (directory, entries)
}

#[tokio::test]
async fn what_is_read_ahead_at_a_start_is_the_log() {
    let (directory, entries) = written(5 * STRETCH + 7).await;
    let storage = open(directory.path());
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let mut reader = log.get_log_reader().await;
    let end = entries.len() as u64;
    let mut read = Vec::new();
    while (read.len() as u64) < end {
        let from = read.len() as u64;
        let stretch = reader.try_get_log_entries(from..end.min(from + STRETCH)).await.expect("readable");
        assert_eq!(stretch.len() as u64, STRETCH.min(end - from));
        read.extend(stretch);
    }
    assert!(read == entries, "every entry, in order");
    let stats = storage.stats();
    assert_eq!(stats.log_disk_reads.get(), end, "each was read back once: what was read ahead was used");
    apply(&mut state_machine, read).await;
    let row = storage.reader().get(CELL, Family::TwinHot, b"label-0").expect("readable");
    assert_eq!(row, Some(bytes(&(end - 1).to_string())));
}

#[tokio::test]
async fn what_was_read_ahead_of_a_truncation_is_not_the_log() {
    let (directory, entries) = written(3 * STRETCH).await;
    let storage = open(directory.path());
    let Group { mut log, .. } = storage.group(CELL);
    let mut reader = log.get_log_reader().await;
    reader.try_get_log_entries(0..STRETCH).await.expect("readable");
    // Another leader's entry takes the place of the second stretch.
    log.truncate_after(Some(log_id(1, STRETCH - 1))).await.expect("open");
    let other = batch(2, STRETCH, STRETCH, vec![put("label-0", "another")]);
    append(&mut log, vec![other.clone()]).await;
    let second = reader.try_get_log_entries(STRETCH..2 * STRETCH).await.expect("readable");
    assert_eq!(second, [other]);
    assert_eq!(reader.try_get_log_entries(0..2).await.expect("readable"), entries[..2]);
}
