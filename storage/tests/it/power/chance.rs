//! Scripts drawn by a seed, long enough that the log goes round its slots several times, ended at a call drawn as well.
//!
//! `TWINMESH_POWER_SEEDS` (default 40): how many; `TWINMESH_SEED` (default 1): the first, printed on a failure.

use std::io;

use openraft::storage::RaftLogStorage;
use twin_core::numbers::CellId;
use twin_storage::consensus::openraft;
use twin_storage::{DataFile, Storage};

use super::script::{Replica, options, rows};
use super::witness::Witness;
use crate::faulty_disk::{Chance, Fate, FaultyDisk};
use crate::world::{CELL, OTHER, barrier, batch, log_id};

/// A group that does something once, and then nothing: its entries must not keep the file from being written over.
const QUIET: CellId = CellId::new(3);
const STEPS: u64 = 70;
/// Cuts are drawn below this; a script that ends before is not cut.
const CALLS: u64 = 260;

/// A group, and where it stands.
struct Busy {
    replica: Replica,
    term: u64,
    /// Index of the next entry.
    next: u64,
    /// Number of the next entry in its term.
    n: u64,
    /// Index of the last entry that a checkpoint covers, and its term.
    covered: Option<(u64, u64)>,
    purged: u64,
}

impl Busy {
    fn of(storage: &Storage, cell: CellId) -> Self {
        Self { replica: Replica::of(storage, cell), term: 0, next: 0, n: 0, covered: None, purged: 0 }
    }

    async fn open_term(&mut self) -> io::Result<()> {
        self.term += 1;
        self.replica.vote(self.term).await?;
        self.replica.open_term(self.term, self.next).await?;
        (self.next, self.n) = (self.next + 1, 1);
        Ok(())
    }

    /// Some batches in one append.
    async fn commit(&mut self, count: u64) -> io::Result<()> {
        let numbered = |at| batch(self.term, self.next + at, self.n + at, rows(self.next + at));
        let entries: Vec<_> = (0..count).map(numbered).collect();
        self.replica.append(&entries).await?;
        for entry in entries {
            let index = entry.log_id.index;
            self.replica.apply(entry, &rows(index)).await?;
        }
        (self.next, self.n) = (self.next + count, self.n + count);
        Ok(())
    }

    /// Entries of a leader that falls, and the next one.
    async fn fall(&mut self, count: u64) -> io::Result<()> {
        let lost: Vec<_> = (0..count).map(|at| batch(self.term, self.next + at, self.n + at, rows(900 + at))).collect();
        self.replica.append(&lost).await?;
        self.replica.truncate_after(log_id(self.term, self.next - 1)).await?;
        self.open_term().await
    }

    async fn purge(&mut self) -> io::Result<()> {
        let Some((term, index)) = self.covered.filter(|(_, index)| *index > self.purged) else { return Ok(()) };
        self.purged = index;
        self.replica.purge(log_id(term, index)).await
    }
}

async fn steps(storage: &Storage, groups: &mut [Busy; 2], quiet: &mut Replica, chance: &mut Chance) -> io::Result<()> {
    quiet.vote(1).await?;
    let kept = barrier(1, 0, 0);
    quiet.append(std::slice::from_ref(&kept)).await?;
    quiet.apply(kept, &[]).await?;
    for group in &mut *groups {
        group.open_term().await?;
    }
    for _ in 0..STEPS {
        let at = chance.below(3).min(1) as usize;
        match chance.below(20) {
            0..11 => groups[at].commit(1 + chance.below(3)).await?,
            11..13 => groups[at].fall(1 + chance.below(2)).await?,
            13 => groups[at].open_term().await?,
            14..16 => {
                storage.checkpoint().await?;
                quiet.witness.checkpointed();
                for group in &mut *groups {
                    group.covered = Some((group.term, group.next - 1));
                    group.replica.witness.checkpointed();
                }
            }
            16..19 => groups[at].purge().await?,
            _ => {
                let committed = log_id(groups[at].term, groups[at].next - 1);
                groups[at].replica.committed(committed).await?;
            }
        }
    }
    Ok(())
}

/// Runs a script until its end or the first error, and says what it saw.
async fn run(disk: &FaultyDisk, seed: u64) -> Vec<Witness> {
    let Ok(storage) = Storage::open(options(disk)) else { return Vec::new() };
    let mut groups = [CELL, OTHER].map(|cell| Busy::of(&storage, cell));
    let mut quiet = Replica::of(&storage, QUIET);
    let ended = steps(&storage, &mut groups, &mut quiet, &mut Chance(seed)).await;
    assert!(ended.is_ok() || disk.is_off(), "seed {seed}: with power the script goes through: {ended:?}");
    drop(storage);
    groups.map(|group| group.replica.witness).into_iter().chain([quiet.witness]).collect()
}

#[tokio::test]
async fn a_power_cut_of_any_script_loses_nothing_acked_while_the_log_goes_round() {
    let number = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let (first, count) = (number("TWINMESH_SEED").unwrap_or(1), number("TWINMESH_POWER_SEEDS").unwrap_or(40));
    for seed in first..first + count {
        let mut chance = Chance(seed.rotate_left(17));
        let (call, fate) = (chance.below(CALLS), Fate::ALL[chance.below(4) as usize]);
        let when = format!("seed {seed}, {fate:?} at call {call}");
        let disk = FaultyDisk::new();
        disk.cut_at(call, fate, chance.next());
        let witnesses = run(&disk, seed).await;
        disk.power_on();
        let storage = Storage::open(options(&disk)).unwrap_or_else(|error| panic!("{when}: {error}"));
        for witness in &witnesses {
            witness.verify(&storage, &when).await;
        }
    }
}

#[tokio::test]
async fn the_journal_is_written_over_although_quiet_groups_keep_old_entries() {
    let disk = FaultyDisk::new();
    let storage = Storage::open(options(&disk)).expect("it has power");
    let slot_bytes = options(&disk).log_slot_bytes;
    let mut group = Busy::of(&storage, CELL);
    let mut quiet = Vec::new();
    group.open_term().await.expect("the disk works");
    for round in 0..60 {
        group.commit(2).await.expect("the disk works");
        if round % 5 == 0 {
            let mut another = Replica::of(&storage, CellId::new(100 + round));
            another.append(&[barrier(1, 0, 0)]).await.expect("the disk works");
            quiet.push(another);
        }
        storage.checkpoint().await.expect("the disk works");
        group.covered = Some((group.term, group.next - 1));
        group.purge().await.expect("the disk works");
    }
    let written = storage.stats().entry_bytes.get();
    assert!(written > 16 * slot_bytes, "{written} bytes went round");
    drop(storage);
    let (file, _) = disk.open(DataFile::Journal.file_name()).expect("it is there");
    let len = file.len().expect("readable");
    assert!(len < 9 * slot_bytes, "a file of {len} bytes");
    let storage = Storage::open(options(&disk)).expect("whole");
    for quiet in quiet {
        quiet.witness.verify(&storage, "later").await;
    }
}

/// Opens what a cut left, compares, and gives it back.
async fn opened(disk: &FaultyDisk, witnesses: &[&Witness], when: &str) -> Storage {
    disk.power_on();
    let storage = Storage::open(options(disk)).unwrap_or_else(|error| panic!("{when}: {error}"));
    for witness in witnesses {
        witness.verify(&storage, when).await;
    }
    storage
}

#[tokio::test]
async fn a_slot_is_not_written_over_before_what_was_in_it_is_durably_purged() {
    for (before, calls) in (1..14).flat_map(|before| (0..5).map(move |calls| (before, calls))) {
        for fate in Fate::ALL {
            let when = format!("{before} batches, {fate:?} {calls} calls later");
            let disk = FaultyDisk::new();
            let storage = Storage::open(options(&disk)).expect("it has power");
            let mut group = Busy::of(&storage, CELL);
            group.open_term().await.expect("it has power");
            for _ in 0..before {
                group.commit(1).await.expect("it has power");
            }
            storage.checkpoint().await.expect("it has power");
            group.replica.witness.checkpointed();
            group.covered = Some((group.term, group.next - 1));
            disk.cut_at(disk.calls() + calls, fate, before);
            // In one round, mostly; where the slot is full, with the beginning of another one.
            let ended = async {
                group.purge().await?;
                group.commit(3).await
            };
            assert!(ended.await.is_ok() || disk.is_off(), "{when}");
            drop(storage);
            opened(&disk, &[&group.replica.witness], &when).await;
        }
    }
}

#[tokio::test]
async fn what_a_cut_left_behind_the_end_is_not_taken_for_what_came_later() {
    let mut left_behind = 0;
    for seed in 0..64 {
        let when = format!("seed {seed}");
        let disk = FaultyDisk::new();
        let storage = Storage::open(options(&disk)).expect("it has power");
        let mut group = Busy::of(&storage, CELL);
        group.open_term().await.expect("it has power");
        group.commit(1).await.expect("it has power");
        // Two frames, the first with two entries; the cut is at the sync.
        disk.cut_at(disk.calls() + 2, Fate::Mixed, seed);
        group.commit(3).await.expect_err("no power");
        drop(storage);
        let storage = opened(&disk, &[&group.replica.witness], &when).await;
        let last = storage.group(CELL).log.get_log_state().await.expect("readable").last_log_id.expect("some").index;
        if last + 1 != group.next {
            continue;
        }
        left_behind += 1;
        // A frame of the same length in the place of the first, and the power goes once more: the second one may still be there.
        let again = [0, 1].map(|at| batch(group.term, last + 1 + at, group.n + at, rows(last + 1 + at)));
        Replica::of(&storage, CELL).append(&again).await.expect("it has power");
        drop(storage);
        disk.power_on();
        let storage = Storage::open(options(&disk)).unwrap_or_else(|error| panic!("{when}: {error}"));
        let found = storage.group(CELL).log.get_log_state().await.expect("readable").last_log_id.expect("some").index;
        assert_eq!(found, last + 2, "{when}");
    }
    assert!(left_behind > 16, "{left_behind} cuts lost the first frame");
}
