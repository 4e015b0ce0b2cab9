//! The chain rule, through the state machine and across checkpoints.

use twin_storage::{Family, Group};

use crate::world::{CELL, append, apply, barrier, batch, bytes, fresh, link, open, put};

fn value(storage: &twin_storage::Storage, key: &str) -> Option<bytes::Bytes> {
    storage.reader().get(CELL, Family::TwinHot, key.as_bytes()).expect("readable")
}

#[tokio::test]
async fn an_entry_behind_a_lost_one_changes_nothing() {
    let (_directory, storage) = fresh();
    let Group { mut state_machine, .. } = storage.group(CELL);
    apply(
        &mut state_machine,
        vec![
            barrier(1, 0, 0),
            batch(1, 1, 1, vec![put("a", "1")]),
            // n = 2 was refused by openraft, n = 3 was decided on top of it and accepted.
            batch(1, 2, 3, vec![put("a", "3")]),
        ],
    )
    .await;
    assert_eq!(value(&storage, "a"), Some(bytes("1")));
    assert_eq!(storage.stats().chain_refused.get(), 1);
    // The barrier starts anew above all numbers given out; a late one of the old run stays refused.
    apply(
        &mut state_machine,
        vec![barrier(1, 3, 4), batch(1, 4, 2, vec![put("a", "2")]), batch(1, 5, 5, vec![put("a", "5")])],
    )
    .await;
    assert_eq!(value(&storage, "a"), Some(bytes("5")));
    assert_eq!(storage.reader().group(CELL).expect("open").chain(), link(1, 5));
}

#[tokio::test]
async fn a_restarted_replica_refuses_what_the_others_refuse() {
    let (directory, storage) = fresh();
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let entries = vec![barrier(3, 0, 0), batch(3, 1, 1, vec![put("a", "1")])];
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    storage.shutdown().expect("a last checkpoint");

    let storage = open(directory.path());
    assert_eq!(storage.reader().group(CELL).expect("on disk").chain(), link(3, 1));
    let Group { mut state_machine, .. } = storage.group(CELL);
    apply(&mut state_machine, vec![batch(3, 2, 3, vec![put("a", "3")]), batch(3, 3, 2, vec![put("b", "2")])]).await;
    assert_eq!(value(&storage, "a"), Some(bytes("1")));
    assert_eq!(value(&storage, "b"), Some(bytes("2")));
}
