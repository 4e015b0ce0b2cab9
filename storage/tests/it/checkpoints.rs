//! Checkpoints, budgets, and what the log keeps until they are durable.

use openraft::storage::RaftLogStorage;
use twin_storage::consensus::openraft;
use twin_storage::{Family, Group, Options, Pressure, Storage};

use crate::world::{
    CELL, OTHER, append, apply, barrier, batch, bytes, crash_copy, eventually, fresh, log_id, open, options, put,
};

#[tokio::test]
async fn a_checkpoint_gives_back_the_dirty_budget_and_tells_of_itself() {
    let (_directory, storage) = fresh();
    let Group { mut state_machine, mut durable, .. } = storage.group(CELL);
    assert_eq!(*durable.borrow_and_update(), None);
    apply(&mut state_machine, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("a", "1"), put("b", "2")])]).await;
    assert!(storage.budgets().dirty_bytes() > 0);
    storage.checkpoint().await.expect("the disk works");
    assert_eq!(storage.budgets().dirty_bytes(), 0);
    assert!(durable.has_changed().expect("the storage is open"));
    assert_eq!(*durable.borrow_and_update(), Some(log_id(1, 1)));
    assert_eq!(storage.stats().checkpoint_rows.get(), 2);
    // Nothing new, nothing written.
    storage.checkpoint().await.expect("the disk works");
    assert_eq!(storage.stats().checkpoints.get(), 1);
}

#[tokio::test]
async fn dirty_rows_past_their_share_bring_the_checkpoint_early() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { dirty_bytes_max: 40_000, ..options(directory.path()) };
    let storage = Storage::open(options).expect("a fresh directory");
    let Group { mut state_machine, mut durable, .. } = storage.group(CELL);
    let value = "v".repeat(1000);
    let mut entries = vec![barrier(1, 0, 0)];
    entries.extend((1..30).map(|n| batch(1, n, n, vec![put(&format!("k{n}"), &value)])));
    apply(&mut state_machine, entries).await;
    // The interval is an hour: only the budget can have asked for it.
    let early = durable.wait_for(|id| id.is_some_and(|id| id.index > 0));
    tokio::time::timeout(std::time::Duration::from_secs(10), early).await.expect("in time").expect("open");
}

#[tokio::test]
async fn a_full_budget_names_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let options = Options { dirty_bytes_max: 1000, log_bytes_max: 600, ..options(directory.path()) };
    let storage = Storage::open(options).expect("a fresh directory");
    let Group { mut log, .. } = storage.group(CELL);
    assert_eq!(storage.budgets().admit(500), Ok(()));
    append(&mut log, vec![batch(1, 0, 0, vec![put("a", &"v".repeat(500))])]).await;
    assert!(matches!(storage.budgets().admit(100), Err(Pressure::Log { max_bytes: 600, .. })));
}

#[tokio::test]
async fn the_log_is_never_purged_past_the_durable_checkpoint() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let entries: Vec<_> = std::iter::once(barrier(1, 0, 0))
        .chain((1..10).map(|n| batch(1, n, n, vec![put("a", &n.to_string())])))
        .collect();
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    let kept = storage.budgets().log_bytes();
    // Ahead of the checkpoint: openraft sees it gone, the disk keeps it.
    log.purge(log_id(1, 8)).await.expect("open");
    append(&mut log, vec![barrier(1, 10, 10)]).await;
    assert!(storage.budgets().log_bytes() >= kept);
    let reopened = open(crash_copy(directory.path()).path());
    let state = reopened.group(CELL).log.get_log_state().await.expect("readable");
    assert_eq!(state.last_purged_log_id, None, "a crash now finds the whole log");
    drop(reopened);

    storage.checkpoint().await.expect("the disk works");
    append(&mut log, vec![barrier(1, 11, 11)]).await;
    assert!(storage.budgets().log_bytes() < kept, "after the checkpoint the purge goes through");
    let reopened = open(crash_copy(directory.path()).path());
    let state = reopened.group(CELL).log.get_log_state().await.expect("readable");
    assert_eq!(state.last_purged_log_id, Some(log_id(1, 8)));
    assert_eq!(state.last_log_id, Some(log_id(1, 11)));
    assert_eq!(reopened.budgets().log_bytes(), storage.budgets().log_bytes());
}

#[tokio::test]
async fn a_large_purge_is_spread_over_rounds_and_survives_a_restart_in_the_middle() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let entries: Vec<_> = (0..5000).map(|n| barrier(1, n, n)).collect();
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    storage.checkpoint().await.expect("the disk works");
    log.purge(log_id(1, 4998)).await.expect("open");
    // One round of deletions at least, all of them not yet.
    append(&mut log, vec![barrier(1, 5000, 5000)]).await;
    let copy = crash_copy(directory.path());
    let reopened = open(copy.path());
    let mut log = reopened.group(CELL).log;
    let state = log.get_log_state().await.expect("readable");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(log_id(1, 4998)), Some(log_id(1, 5000))));
    let two_entries = 2 * 64;
    eventually("the rest is purged", || reopened.budgets().log_bytes() <= two_entries).await;
}

#[tokio::test]
async fn groups_do_not_see_each_others_rows() {
    let (_directory, storage) = fresh();
    for (cell, value) in [(CELL, "one"), (OTHER, "two")] {
        let Group { mut state_machine, .. } = storage.group(cell);
        apply(&mut state_machine, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("a", value)])]).await;
    }
    let check = |reader: twin_storage::StateReader| {
        for (cell, value) in [(CELL, "one"), (OTHER, "two")] {
            assert_eq!(reader.get(cell, Family::TwinHot, b"a").expect("readable"), Some(bytes(value)));
            let scan = reader.scan(cell, Family::TwinHot, b"", None, 10).expect("readable");
            assert_eq!(scan.rows, [(bytes("a"), bytes(value))]);
            assert!(!scan.more);
        }
    };
    check(storage.reader());
    storage.checkpoint().await.expect("the disk works");
    check(storage.reader());
}
