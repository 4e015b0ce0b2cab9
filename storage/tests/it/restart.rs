//! What is there after a crash or a stop.

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use twin_storage::consensus::openraft;
use twin_storage::{Family, Group};

use crate::world::{CELL, append, apply, barrier, batch, bytes, crash_copy, fresh, log_id, open, put};

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
