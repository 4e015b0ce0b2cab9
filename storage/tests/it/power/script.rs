//! Everything that a node does with its storage, in a small way: votes, rounds of one group and of several, checkpoints, purges,
//! a new term that truncates, a snapshot that is installed, a clean stop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use twin_core::numbers::CellId;
use twin_storage::consensus::openraft;
use twin_storage::consensus::{Entry, LeaderId, LogId, SnapshotMeta, TypeConfig, Vote, openraft::impls};
use twin_storage::{Family, Group, LogStore, Options, RowChange, SnapshotReceiver, StateMachine, Storage};

use super::witness::{Rows, Witness};
use crate::faulty_disk::FaultyDisk;
use crate::world::{CELL, OTHER, apply, barrier, batch, fresh, log_id};

/// The group that gets its state by a snapshot.
const JOINED: CellId = CellId::new(7);

pub(crate) fn options(disk: &FaultyDisk) -> Options {
    // A small cache: more of it goes over the disk. Small slots: the log goes round them.
    Options {
        checkpoint_interval: Duration::from_secs(3600),
        log_slot_bytes: 32 * 1024,
        state_cache_bytes: 256 * 1024,
        ..Options::on_disk(Arc::new(disk.clone()))
    }
}

/// A snapshot of some other node.
pub(crate) struct Sent {
    meta: SnapshotMeta,
    chunks: Vec<Bytes>,
    rows: Rows,
}

fn row(family: Family, key: &str, value: &str) -> RowChange {
    RowChange::put(family, Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value.as_bytes()))
}

fn put(rows: &mut Rows, changes: &[RowChange]) {
    for change in changes {
        let key = (change.family, change.key.clone());
        match &change.value {
            Some(value) => drop(rows.insert(key, value.clone())),
            None => drop(rows.remove(&key)),
        }
    }
}

/// Rows that change with `n`: a twin in each round, one that comes back, one that goes, and a large one.
pub(super) fn rows(n: u64) -> Vec<RowChange> {
    vec![
        row(Family::TwinHot, &format!("twin-{n}"), &format!("version {n}")),
        row(Family::TwinHot, "counter", &n.to_string()),
        row(Family::Home, "large", &format!("{n}").repeat(3000)),
        RowChange::delete(Family::TwinHot, Bytes::from(format!("twin-{}", n.saturating_sub(3)))),
    ]
}

/// Makes the snapshot that the script installs.
pub(crate) async fn sent() -> Sent {
    let (_directory, source) = fresh();
    let Group { state_machine: mut from, .. } = source.group(JOINED);
    let changes = rows(40);
    apply(&mut from, vec![barrier(4, 0, 0), batch(4, 1, 1, changes.clone())]).await;
    let snapshot = from.try_create_snapshot_builder(true).await.expect("forced").build_snapshot().await.expect("read");
    let meta = snapshot.meta;
    let chunks = snapshot.snapshot.into_chunks().collect::<io::Result<_>>().expect("read");
    let mut of = Rows::new();
    put(&mut of, &changes);
    Sent { meta, chunks, rows: of }
}

fn vote(term: u64) -> Vote {
    impls::Vote { leader_id: LeaderId { term, voted_for: 1 }, committed: true }
}

/// A replica of one group, by hand.
pub(super) struct Replica {
    log: LogStore,
    state_machine: StateMachine,
    pub(super) witness: Witness,
}

impl Replica {
    pub(super) fn of(storage: &Storage, cell: CellId) -> Self {
        let Group { log, state_machine, .. } = storage.group(cell);
        Self { log, state_machine, witness: Witness::new(cell) }
    }

    pub(super) async fn vote(&mut self, term: u64) -> io::Result<()> {
        self.witness.try_vote(vote(term));
        self.log.save_vote(&vote(term)).await?;
        self.witness.vote_acked();
        Ok(())
    }

    /// Hands the entries to the log; the future ends when they are durable.
    async fn hand_in(&mut self, entries: &[Entry]) -> io::Result<impl Future<Output = io::Result<()>> + use<>> {
        // Entries are kept in their order, not all or none.
        for entry in entries {
            self.witness.try_log(|log| log.push(entry.clone()));
        }
        let (sent, flushed) = TypeConfig::oneshot();
        self.log.append(entries.to_vec(), IOFlushed::signal(sent)).await?;
        Ok(async move { flushed.await.map_err(io::Error::other)? })
    }

    pub(super) async fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        self.hand_in(entries).await?.await?;
        self.witness.log_acked();
        Ok(())
    }

    pub(super) async fn apply(&mut self, entry: Entry, changes: &[RowChange]) -> io::Result<()> {
        let id = entry.log_id;
        self.state_machine.apply(stream::iter([Ok((entry, None))])).await?;
        self.witness.state(id, true, |rows| put(rows, changes));
        Ok(())
    }

    /// Appends one batch and applies it.
    async fn commit(&mut self, term: u64, index: u64, n: u64) -> io::Result<()> {
        let entry = batch(term, index, n, rows(index));
        self.append(std::slice::from_ref(&entry)).await?;
        self.apply(entry, &rows(index)).await
    }

    /// Appends a barrier and applies it.
    pub(super) async fn open_term(&mut self, term: u64, index: u64) -> io::Result<()> {
        let entry = barrier(term, index, 0);
        self.append(std::slice::from_ref(&entry)).await?;
        self.apply(entry, &[]).await
    }

    pub(super) async fn committed(&mut self, id: LogId) -> io::Result<()> {
        self.witness.try_committed(id);
        self.log.save_committed(Some(id)).await
    }

    pub(super) async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.witness.try_purge(upto);
        self.log.purge(upto).await
    }

    pub(super) async fn truncate_after(&mut self, last: LogId) -> io::Result<()> {
        self.witness.try_log(|log| log.retain(|entry| entry.log_id.index <= last.index));
        self.log.truncate_after(Some(last)).await?;
        self.witness.log_acked();
        Ok(())
    }

    async fn install(&mut self, sent: &Sent) -> io::Result<()> {
        let last = sent.meta.last_log_id.expect("it covers something");
        let mut receiver = SnapshotReceiver::new();
        for chunk in &sent.chunks {
            receiver.push(chunk.clone()).map_err(io::Error::other)?;
        }
        self.witness.state(last, false, |rows| rows.clone_from(&sent.rows));
        self.state_machine.install_snapshot(&sent.meta, receiver.finish()).await?;
        self.witness.checkpointed();
        Ok(())
    }
}

/// Runs the script on a fresh disk until its end or the first error, and says what it saw.
pub(crate) async fn run(disk: &FaultyDisk, sent: &Sent) -> Vec<Witness> {
    let Ok(storage) = Storage::open(options(disk)) else { return Vec::new() };
    let mut replicas = [CELL, OTHER, JOINED].map(|cell| Replica::of(&storage, cell));
    // Whatever it is, it began with the power.
    let ended = steps(&storage, &mut replicas, sent).await;
    if ended.is_ok() {
        match storage.shutdown() {
            Ok(()) => replicas.iter_mut().for_each(|replica| replica.witness.checkpointed()),
            Err(failure) => assert!(disk.is_off(), "a clean stop fails only without power: {failure}"),
        }
    } else {
        assert!(disk.is_off(), "with power the script goes through: {ended:?}");
        drop(storage);
    }
    replicas.into_iter().map(|replica| replica.witness).collect()
}

async fn checkpoint(storage: &Storage, replicas: &mut [Replica]) -> io::Result<()> {
    storage.checkpoint().await?;
    for replica in replicas {
        replica.witness.checkpointed();
    }
    Ok(())
}

async fn steps(storage: &Storage, replicas: &mut [Replica; 3], sent: &Sent) -> io::Result<()> {
    let [one, other, _] = &mut *replicas;
    one.vote(1).await?;
    one.open_term(1, 0).await?;
    for index in 1..4 {
        one.commit(1, index, index).await?;
    }
    one.committed(log_id(1, 3)).await?;
    // Two groups in a round.
    other.vote(2).await?;
    let (first, second) = (batch(1, 4, 4, rows(4)), barrier(2, 0, 0));
    let flushed_one = one.hand_in(std::slice::from_ref(&first)).await?;
    let flushed_other = other.hand_in(std::slice::from_ref(&second)).await?;
    flushed_one.await?;
    one.witness.log_acked();
    flushed_other.await?;
    other.witness.log_acked();
    one.apply(first, &rows(4)).await?;
    other.apply(second, &[]).await?;
    checkpoint(storage, replicas).await?;

    let [one, other, _] = &mut *replicas;
    one.purge(log_id(1, 3)).await?;
    one.commit(1, 5, 5).await?;
    other.commit(2, 1, 1).await?;
    // Entries of a leader that fell: never applied, and truncated by the next.
    let lost = [batch(1, 6, 6, rows(60)), batch(1, 7, 7, rows(61))];
    one.append(&lost).await?;
    one.vote(3).await?;
    one.truncate_after(log_id(1, 5)).await?;
    one.open_term(3, 6).await?;
    one.commit(3, 7, 1).await?;
    // A purge that the checkpoint does not cover yet waits for it.
    one.purge(log_id(3, 7)).await?;
    other.commit(2, 2, 2).await?;
    checkpoint(storage, replicas).await?;

    let [one, other, joined] = &mut *replicas;
    joined.vote(4).await?;
    joined.install(sent).await?;
    joined.purge(log_id(4, 1)).await?;
    joined.commit(4, 2, 2).await?;
    one.commit(3, 8, 2).await?;
    one.committed(log_id(3, 8)).await?;
    other.commit(2, 3, 3).await?;
    checkpoint(storage, replicas).await?;
    let [one, other, _] = &mut *replicas;
    one.commit(3, 9, 3).await?;
    other.purge(log_id(2, 2)).await?;
    other.commit(2, 4, 4).await
}
