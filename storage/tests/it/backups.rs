//! Backups while all goes on, and what is restored from them.

use std::collections::BTreeMap;
use std::path::Path;

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use twin_core::numbers::CellId;
use twin_storage::consensus::{Membership, Peer, Vote, openraft};
use twin_storage::{
    Backup, BackupChunk, BackupError, ChainLink, EntryData, Family, Group, Options, Restorer, RowChange, Storage,
    read_rows,
};

use crate::world::{CELL, OTHER, append, apply, barrier, batch, bytes, fresh, log_id, open};

/// Rows of a group, by family and key.
type Rows = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

/// Restores what is left of a backup into a directory.
fn restore(mut backup: Backup, directory: &Path, mut between: impl FnMut()) -> usize {
    let mut restorer = Restorer::create(Options::in_directory(directory)).expect("an empty directory");
    let (mut group, mut chunks) = (None, 0);
    while let Some(chunk) = backup.next_chunk().expect("the disk works") {
        match chunk {
            BackupChunk::Group(next) => group = Some(next),
            BackupChunk::Rows { count, bytes } => {
                let rows = read_rows(bytes).expect("rows of ours");
                assert_eq!(rows.len(), count as usize);
                restorer.put(group.expect("a group comes first"), rows).expect("the disk works");
                chunks += 1;
            }
            BackupChunk::End { group: ended, covered } => {
                assert_eq!(Some(ended), group);
                restorer.end_group(ended, &covered).expect("of ours");
            }
        }
        between();
    }
    restorer.finish().expect("the disk works");
    chunks
}

fn rows_of(storage: &Storage, cell: CellId) -> Rows {
    let reader = storage.reader().group(cell).expect("it is open");
    let mut rows = Rows::new();
    for family in Family::ALL {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let scan = reader.scan(family, b"", after.as_deref(), 4096).expect("readable");
            after = scan.rows.last().map(|(key, _)| key.to_vec());
            rows.extend(scan.rows.into_iter().map(|(key, value)| ((family, key.to_vec()), value.to_vec())));
            if !scan.more {
                break;
            }
        }
    }
    rows
}

/// A group whose every state is remembered.
struct Written {
    group: Group,
    cell: CellId,
    now: Rows,
    /// What each entry changed.
    entries: Vec<Vec<RowChange>>,
    random: u64,
}

impl Written {
    async fn new(storage: &Storage, cell: CellId) -> Self {
        let mut group = storage.group(cell);
        let membership = Membership::new(vec![[1].into()], BTreeMap::from([(1, Peer::default())])).expect("a member");
        let founded = twin_storage::consensus::Entry {
            log_id: log_id(1, 0),
            payload: twin_storage::consensus::EntryPayload::Membership(membership),
        };
        let entries = vec![founded, barrier(1, 1, 0)];
        append(&mut group.log, entries.clone()).await;
        apply(&mut group.state_machine, entries).await;
        Self { group, cell, now: Rows::new(), entries: vec![Vec::new(), Vec::new()], random: u64::from(cell.get()) }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// One entry of so many rows, one in eight of them removed.
    async fn write(&mut self, rows: u64, keys: u64) {
        let families = [Family::TwinHot, Family::TwinDesired, Family::Home];
        let n = self.entries.len() as u64;
        let mut changes = Vec::new();
        for _ in 0..rows {
            let family = families[self.draw(3) as usize];
            let key = bytes(&format!("key-{:06}", self.draw(keys)));
            changes.push(if self.draw(8) == 0 {
                RowChange::delete(family, key)
            } else {
                RowChange::put(family, key, format!("{n}-{}", "v".repeat(self.draw(300) as usize)).into())
            });
        }
        let data = EntryData::batch(ChainLink { term: 1, n: n - 1 }, changes.clone()).expect("small");
        let entry = crate::world::entry(1, n, data);
        append(&mut self.group.log, vec![entry.clone()]).await;
        apply(&mut self.group.state_machine, vec![entry]).await;
        change(&mut self.now, &changes);
        self.entries.push(changes);
    }

    /// The rows after the entry with this index.
    fn at(&self, index: u64) -> Rows {
        let mut rows = Rows::new();
        self.entries.iter().take(index as usize + 1).for_each(|changes| change(&mut rows, changes));
        rows
    }

    fn applied(&self) -> u64 {
        self.entries.len() as u64 - 1
    }
}

fn change(rows: &mut Rows, changes: &[RowChange]) {
    for RowChange { family, key, value } in changes {
        match value {
            Some(value) => drop(rows.insert((*family, key.to_vec()), value.to_vec())),
            None => drop(rows.remove(&(*family, key.to_vec()))),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_what_each_group_was_at_one_point_whatever_is_written_meanwhile() {
    let (_directory, storage) = fresh();
    let mut groups = [Written::new(&storage, CellId::new(0)).await, Written::new(&storage, CELL).await];
    for _ in 0..30 {
        for group in &mut groups {
            group.write(500, 10_000).await;
        }
    }
    let acknowledged = [groups[0].applied(), groups[1].applied()];
    let backup = storage.backups().begin().await.expect("none is under way");
    let (rows, estimated) = backup.estimate().expect("readable");
    let target = tempfile::tempdir().expect("a directory");
    let handle = tokio::runtime::Handle::current();
    let chunks = tokio::task::block_in_place(|| {
        restore(backup, target.path(), || {
            handle.block_on(async {
                // What was read and what was not, in both groups; and not only while there is more to read.
                for group in &mut groups {
                    group.write(300, 12_000).await;
                }
                storage.checkpoint().await.expect("the disk works");
            });
        })
    });
    assert!(chunks > 8, "{chunks}: it was read in one go");
    let bytes: usize =
        groups.iter().flat_map(|group| &group.now).map(|((_, key), value)| key.len() + value.len()).sum();
    assert!(
        rows > 10_000 && estimated > bytes as u64 / 2 && estimated < bytes as u64 * 2,
        "{rows}, {estimated} for {bytes}"
    );

    let restored = open(target.path());
    for (group, acknowledged) in groups.iter().zip(acknowledged) {
        let applied = restored.reader().applied(group.cell).expect("it is there").expect("something").index;
        assert!(applied > acknowledged, "{applied} of {acknowledged}: it went on while the backup was read");
        assert!(
            rows_of(&restored, group.cell) == group.at(applied),
            "group {} is not as it was at {applied}",
            group.cell
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_goes_on_where_the_backup_was() {
    let (_directory, storage) = fresh();
    let mut group = Written::new(&storage, CELL).await;
    group.write(10, 10).await;
    let backup = storage.backups().begin().await.expect("none is under way");
    let target = tempfile::tempdir().expect("a directory");
    tokio::task::block_in_place(|| restore(backup, target.path(), || ()));
    let restored = open(target.path());
    let Group { mut log, mut state_machine, .. } = restored.group(CELL);
    let last = Some(log_id(1, group.applied()));
    let state = log.get_log_state().await.expect("readable");
    assert_eq!((state.last_purged_log_id, state.last_log_id), (last, last));
    assert_eq!(log.read_committed().await.expect("readable"), last);
    let vote = log.get_log_reader().await.read_vote().await.expect("readable");
    assert_eq!(vote, Some(Vote::new_committed(1, 1)));
    let next = group.applied() + 1;
    let entries = vec![barrier(2, next, 0), batch(2, next + 1, 1, vec![crate::world::put("a", "after")])];
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
    restored.shutdown().expect("the disk works");
    let again = open(target.path());
    assert_eq!(again.group(CELL).log.get_log_state().await.expect("readable").last_log_id, Some(log_id(2, next + 1)));
}

#[tokio::test]
async fn there_is_one_backup_at_a_time_and_a_dropped_one_is_over() {
    let (_directory, storage) = fresh();
    let mut group = Written::new(&storage, CELL).await;
    group.write(10, 10).await;
    let backups = storage.backups();
    let first = backups.begin().await.expect("none is under way");
    assert!(matches!(backups.begin().await, Err(BackupError::UnderWay)));
    drop(first);
    drop(backups.begin().await.expect("none is under way"));
    storage.shutdown().expect("the disk works");
    assert!(matches!(backups.begin().await, Err(BackupError::ShutDown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_stands_still_keeps_no_page_of_the_file() {
    let (directory, storage) = fresh();
    let mut group = Written::new(&storage, CELL).await;
    for _ in 0..20 {
        group.write(500, 5_000).await;
    }
    let mut backup = storage.backups().begin().await.expect("none is under way");
    // In the middle of the rows: its reader takes no more for the time being.
    for _ in 0..3 {
        tokio::task::block_in_place(|| backup.next_chunk()).expect("the disk works").expect("there is more");
    }
    let grown_over_60_checkpoints = async |group: &mut Written| {
        let file_bytes = || std::fs::metadata(directory.path().join("state.redb")).expect("it is there").len();
        let mut sizes = Vec::new();
        for _ in 0..70 {
            group.write(500, 5_000).await;
            storage.checkpoint().await.expect("the disk works");
            sizes.push(file_bytes());
        }
        sizes[69] - sizes[9]
    };
    assert_eq!(grown_over_60_checkpoints(&mut group).await, 0);
    drop(backup);
    // What a reader of one checkpoint costs, were the backup one.
    let reader = group.group.state_machine.get_current_snapshot().await.expect("readable").expect("there is one");
    let mut chunks = reader.snapshot.into_chunks();
    chunks.next().expect("there are rows").expect("readable");
    let grown = grown_over_60_checkpoints(&mut group).await;
    println!("60 checkpoints of 500 rows behind one reader: {grown} bytes");
    assert!(grown > 0);
    drop(chunks);
}

#[tokio::test]
async fn groups_of_no_backup_are_not_in_it() {
    let (_directory, storage) = fresh();
    let mut group = Written::new(&storage, OTHER).await;
    group.write(3, 10).await;
    let mut backup = storage.backups().begin().await.expect("none is under way");
    let mut groups = Vec::new();
    while let Some(chunk) = backup.next_chunk().expect("the disk works") {
        if let BackupChunk::End { group, .. } = chunk {
            groups.push(group);
        }
    }
    assert_eq!(groups, [OTHER]);
}
