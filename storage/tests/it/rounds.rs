//! Group commit.

use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use twin_core::numbers::CellId;
use twin_storage::consensus::openraft;
use twin_storage::consensus::{LeaderId, openraft::impls};
use twin_storage::consensus::{TypeConfig, Vote};

use crate::world::{CELL, append, barrier, batch, crash_copy, fresh, log_id, open, put};

#[tokio::test]
async fn many_groups_share_a_durable_commit() {
    const GROUPS: u32 = 64;
    let (_directory, storage) = fresh();
    let before = storage.stats().rounds.get();
    let mut waiting = Vec::new();
    for number in 0..GROUPS {
        let mut log = storage.group(CellId::new(number)).log;
        let (sent, flushed) = TypeConfig::oneshot();
        log.append([batch(1, 0, 0, vec![put("a", "1")])], IOFlushed::signal(sent)).await.expect("open");
        waiting.push(flushed);
    }
    for flushed in waiting {
        flushed.await.expect("called").expect("durable");
    }
    let rounds = storage.stats().rounds.get() - before;
    assert!(rounds < u64::from(GROUPS) / 2, "{GROUPS} concurrent appends took {rounds} rounds");
    assert_eq!(storage.stats().appends.get(), u64::from(GROUPS));
    assert_eq!(storage.stats().commit_latency.count(), storage.stats().rounds.get());
}

#[tokio::test]
async fn an_entry_is_readable_before_it_is_durable() {
    let (_directory, storage) = fresh();
    let mut log = storage.group(CELL).log;
    let (sent, flushed) = TypeConfig::oneshot();
    log.append([barrier(1, 0, 0)], IOFlushed::signal(sent)).await.expect("open");
    let read = log.get_log_reader().await.try_get_log_entries(0..10).await.expect("readable");
    assert_eq!(read, [barrier(1, 0, 0)]);
    flushed.await.expect("called").expect("durable");
}

#[tokio::test]
async fn committed_and_purge_force_no_round_of_their_own() {
    let (_directory, storage) = fresh();
    let mut log = storage.group(CELL).log;
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    let before = storage.stats().rounds.get();
    for _ in 0..100 {
        log.save_committed(Some(log_id(1, 0))).await.expect("open");
    }
    append(&mut log, vec![barrier(1, 1, 1)]).await;
    let rounds = storage.stats().rounds.get() - before;
    assert!(rounds <= 2, "100 riders and an append took {rounds} rounds");
}

#[tokio::test]
async fn a_vote_is_durable_when_it_is_granted() {
    let (directory, storage) = fresh();
    let vote: Vote = impls::Vote { leader_id: LeaderId { term: 7, voted_for: 3 }, committed: true };
    storage.group(CELL).log.save_vote(&vote).await.expect("durable");
    let copy = crash_copy(directory.path());
    let reopened = open(copy.path());
    let mut log = reopened.group(CELL).log;
    assert_eq!(log.get_log_reader().await.read_vote().await.expect("readable"), Some(vote));
}

#[tokio::test]
async fn entries_that_left_the_memory_are_read_from_the_file() {
    let (_directory, storage) = fresh();
    let mut log = storage.group(CELL).log;
    let large = "x".repeat(512 * 1024);
    for index in 0..20 {
        append(&mut log, vec![batch(1, index, index, vec![put("a", &large)])]).await;
    }
    let mut reader = log.get_log_reader().await;
    let all = reader.try_get_log_entries(0..20).await.expect("gapless");
    assert_eq!(all.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
    assert!(storage.stats().log_disk_reads.get() > 0, "10 MiB of entries stayed in memory");
    // Replication may be given fewer, bounded by bytes, but never none.
    let some = reader.limited_get_log_entries(0, 20).await.expect("some");
    assert!((1..=9).contains(&some.len()), "{} entries of 512 KiB at once", some.len());
    assert_eq!(some[0].log_id.index, 0);
    // Mixed: the end of the file's part and the part in memory.
    let mixed = reader.try_get_log_entries(5..20).await.expect("gapless");
    assert_eq!(mixed.len(), 15);
}

#[tokio::test]
async fn what_was_truncated_never_comes_back() {
    let (directory, storage) = fresh();
    let mut log = storage.group(CELL).log;
    for index in 0..10 {
        append(&mut log, vec![batch(1, index, index, vec![put("old", "old")])]).await;
    }
    log.truncate_after(Some(log_id(1, 4))).await.expect("durable");
    append(&mut log, vec![barrier(2, 5, 0)]).await;
    let check = |entries: Vec<twin_storage::consensus::Entry>| {
        let ids: Vec<_> = entries.iter().map(|entry| (*entry.log_id.leader_id, entry.log_id.index)).collect();
        assert_eq!(ids, [(1, 3), (1, 4), (2, 5)]);
    };
    check(log.get_log_reader().await.try_get_log_entries(3..).await.expect("gapless"));
    let copy = crash_copy(directory.path());
    let reopened = open(copy.path());
    let mut log = reopened.group(CELL).log;
    check(log.get_log_reader().await.try_get_log_entries(3..).await.expect("gapless"));
}
