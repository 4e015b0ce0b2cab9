//! Snapshots: the durable checkpoint, streamed and installed.

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine};
use twin_storage::consensus::openraft;
use twin_storage::{Family, Group, SnapshotReceiver};

use crate::world::{CELL, OTHER, append, apply, barrier, batch, bytes, delete, fresh, link, log_id, open, put};

#[tokio::test]
async fn a_snapshot_replaces_a_groups_state_whole_and_durably() {
    let (_source_directory, source) = fresh();
    let Group { state_machine: mut from, .. } = source.group(CELL);
    let rows = (0..500).map(|n| put(&format!("twin-{n:04}"), &"v".repeat(1000))).collect();
    apply(&mut from, vec![barrier(2, 0, 0), batch(2, 1, 1, rows), batch(2, 2, 2, vec![delete("twin-0007")])]).await;
    let snapshot = from.try_create_snapshot_builder(true).await.expect("forced").build_snapshot().await.expect("read");
    assert_eq!(snapshot.meta.last_log_id, Some(log_id(2, 2)));

    let (directory, target) = fresh();
    let Group { mut log, state_machine: mut to, mut durable } = target.group(CELL);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    let Group { mut log, state_machine: mut neighbour, .. } = target.group(OTHER);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    apply(&mut to, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("stale", "in the file")])]).await;
    apply(&mut neighbour, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("kept", "file")])]).await;
    target.checkpoint().await.expect("the disk works");
    apply(&mut to, vec![batch(1, 2, 2, vec![put("dirty", "in memory")])]).await;
    apply(&mut neighbour, vec![batch(1, 2, 2, vec![put("kept too", "memory")])]).await;

    let mut receiver = SnapshotReceiver::new();
    let mut chunks = 0;
    for chunk in snapshot.snapshot.into_chunks() {
        receiver.push(chunk.expect("read")).expect("small enough");
        chunks += 1;
    }
    assert!(chunks > 1, "500 KB came in one chunk");
    to.install_snapshot(&snapshot.meta, receiver.finish()).await.expect("installed");

    let check = |storage: &twin_storage::Storage| {
        let reader = storage.reader();
        let scan = reader.scan(CELL, Family::TwinHot, b"", None, 4096).expect("readable");
        assert_eq!(scan.rows.len(), 499);
        assert!(scan.rows.iter().all(|(key, _)| key.starts_with(b"twin-") && key != "twin-0007"));
        assert_eq!(reader.applied(CELL).expect("open"), Some(log_id(2, 2)));
        assert_eq!(reader.group(CELL).expect("open").chain(), link(2, 2));
    };
    check(&target);
    assert_eq!(*durable.borrow_and_update(), Some(log_id(2, 2)));
    let kept = target.reader().get(OTHER, Family::TwinHot, b"kept too").expect("readable");
    assert_eq!(kept, Some(bytes("memory")), "another group's dirty rows stay");
    target.shutdown().expect("clean");
    let target = open(directory.path());
    check(&target);
    assert_eq!(target.reader().get(OTHER, Family::TwinHot, b"kept").expect("readable"), Some(bytes("file")));
}

#[tokio::test]
async fn a_cut_snapshot_changes_nothing() {
    let (_source_directory, source) = fresh();
    let Group { state_machine: mut from, .. } = source.group(CELL);
    apply(&mut from, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("a", "1"), put("b", "2")])]).await;
    let snapshot = from.try_create_snapshot_builder(true).await.expect("forced").build_snapshot().await.expect("read");
    let whole: Vec<u8> = snapshot.snapshot.into_chunks().flat_map(|chunk| chunk.expect("read").to_vec()).collect();

    let (_directory, target) = fresh();
    let Group { state_machine: mut to, .. } = target.group(CELL);
    apply(&mut to, vec![barrier(1, 0, 0), batch(1, 1, 1, vec![put("mine", "1")])]).await;
    for cut in 0..whole.len() {
        let mut receiver = SnapshotReceiver::new();
        receiver.push(whole[..cut].to_vec().into()).expect("small enough");
        to.install_snapshot(&snapshot.meta, receiver.finish()).await.expect_err("it is not whole");
    }
    assert_eq!(target.reader().get(CELL, Family::TwinHot, b"mine").expect("readable"), Some(bytes("1")));
    assert_eq!(target.reader().get(CELL, Family::TwinHot, b"a").expect("readable"), None);
    assert!(target.failure().borrow().is_none(), "a bad stream is not a failed disk");
}

#[tokio::test]
async fn without_force_a_snapshot_waits_for_news() {
    let (_directory, storage) = fresh();
    let Group { mut state_machine, .. } = storage.group(CELL);
    assert!(state_machine.try_create_snapshot_builder(false).await.is_none());
    apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
    assert!(state_machine.try_create_snapshot_builder(false).await.is_none(), "no checkpoint yet");
    storage.checkpoint().await.expect("the disk works");
    assert!(state_machine.try_create_snapshot_builder(false).await.is_some());
    assert!(state_machine.try_create_snapshot_builder(false).await.is_none(), "the same again");
}
