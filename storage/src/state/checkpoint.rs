//! The checkpointer: the only thread that writes `state.redb`.
//!
//! It also installs snapshots, so an installation never meets a running flush: there is none while the
//! thread is busy with it.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use redb::WriteTransaction;
use tokio::sync::oneshot;

use super::base::Base;
use super::dirty::DirtyRows;
use super::group::{GroupState, StateShared};
use super::snapshot::{SnapshotData, SnapshotError, SnapshotParser};
use super::tables::{Covered, GROUPS, encode, put_journal_durable, put_row_key, row_key, rows};
use crate::consensus::SnapshotMeta;
use crate::failure::{DataFile, StorageFailure};
use crate::families::Family;
use crate::guard::{OpenDatabase, contradiction, guarded, quietly};
use crate::seal::Seal;
use crate::stopwatch::Stopwatch;

/// What the checkpointer is asked for.
pub(crate) enum Command {
    /// A checkpoint before its time, because dirty rows pass their share of the budget.
    Early,
    /// A checkpoint now, and word of it.
    Now { reply: oneshot::Sender<Result<(), StorageFailure>> },
    /// Replace a group's state.
    Install {
        group: Arc<GroupState>,
        meta: Box<SnapshotMeta>,
        snapshot: Box<SnapshotData>,
        reply: oneshot::Sender<io::Result<()>>,
    },
    /// A last checkpoint, and end.
    Stop { reply: oneshot::Sender<Result<(), StorageFailure>> },
    /// End at once, as a crash would.
    Abandon,
}

pub(crate) struct Checkpointer {
    pub(crate) database: OpenDatabase,
    pub(crate) seal: Option<Arc<Seal>>,
    pub(crate) shared: Arc<StateShared>,
    pub(crate) interval: Duration,
}

/// A group's rows on their way to the file.
struct Frozen {
    group: Arc<GroupState>,
    rows: Arc<DirtyRows>,
    covered: Covered,
}

/// Starts the thread.
pub(crate) fn spawn(checkpointer: Checkpointer, receiver: Receiver<Command>) -> io::Result<JoinHandle<()>> {
    let failure = checkpointer.shared.failure.clone();
    std::thread::Builder::new().name("twin-checkpoint".to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| checkpointer.run(&receiver))).is_err() {
            failure.set(DataFile::State, "its thread panicked".to_owned());
        }
    })
}

impl Checkpointer {
    fn run(self, receiver: &Receiver<Command>) {
        loop {
            // Here, as nothing else may be written that would look.
            self.shared.space.look();
            // An early or asked-for checkpoint starts the interval anew: it did the interval's work.
            match receiver.recv_timeout(self.interval) {
                Err(RecvTimeoutError::Timeout) | Ok(Command::Early) => drop(self.checkpoint()),
                // A receiver that is gone gave up waiting.
                Ok(Command::Now { reply }) => drop(reply.send(self.checkpoint())),
                Ok(Command::Install { group, meta, snapshot, reply }) => {
                    drop(reply.send(self.install(&group, &meta, *snapshot)));
                }
                Ok(Command::Stop { reply }) => {
                    drop(reply.send(self.checkpoint()));
                    break;
                }
                Ok(Command::Abandon) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Err(error) = self.database.close() {
            self.shared.failure.set_error(DataFile::State, &error.into());
        }
    }

    /// Freezes, writes, publishes. A failure is for good.
    fn checkpoint(&self) -> Result<(), StorageFailure> {
        self.shared.failure.check()?;
        let watch = Stopwatch::start();
        let frozen = self.freeze();
        if !frozen.is_empty() {
            let base = guarded(|| self.write(&frozen))
                .map_err(|error| self.shared.failure.set_error(DataFile::State, &error))?;
            self.publish(frozen, base);
            self.shared.stats.checkpoints.add(1);
            self.shared.stats.checkpoint_latency.record(watch.elapsed());
        }
        self.shared.asked_early.store(false, Ordering::Release);
        Ok(())
    }

    /// Takes what each group changed. Each at an entry boundary of its own: groups know nothing of each
    /// other's order, and the transaction records how far each one is.
    fn freeze(&self) -> Vec<Frozen> {
        let groups: Vec<_> = self.shared.groups.read().values().cloned().collect();
        let mut frozen = Vec::new();
        for group in groups {
            let mut view = group.view.write();
            if !view.changed {
                continue;
            }
            view.changed = false;
            let rows = Arc::new(std::mem::take(&mut view.active));
            view.frozen = Some(Arc::clone(&rows));
            let covered = view.covered.clone();
            drop(view);
            frozen.push(Frozen { group, rows, covered });
        }
        frozen
    }

    /// Writes the frozen rows in key order, table by table, and opens the file anew.
    fn write(&self, frozen: &[Frozen]) -> Result<Base, redb::Error> {
        let mut write = self.database.begin_write()?;
        write.set_quick_repair(true);
        let mut key = Vec::new();
        let (mut count, mut bytes) = (0, 0);
        for family in Family::ALL {
            if frozen.iter().all(|group| group.rows.is_empty(family)) {
                continue;
            }
            let mut table = write.open_table(rows(family))?;
            // Groups come in order of their numbers, which is the order of the table.
            for group in frozen {
                for (row, value) in group.rows.in_order(family) {
                    put_row_key(&mut key, group.group.cell.get(), row);
                    match value {
                        Some(value) => drop(table.insert(key.as_slice(), &*self.sealed(family, &key, value))?),
                        None => drop(table.remove(key.as_slice())?),
                    }
                    count += 1;
                    bytes += (key.len() + value.as_ref().map_or(0, bytes::Bytes::len)) as u64;
                }
            }
        }
        {
            let mut table = write.open_table(GROUPS)?;
            for group in frozen {
                table.insert(group.group.cell.get(), encode(&group.covered)?.as_slice())?;
            }
        }
        // **Invariant:** it is durable before it is written here, whatever of it the checkpoint covers. So a journal that ends before it,
        // whenever the power went, is not the one that was beside this file.
        put_journal_durable(&write, self.shared.journal_durable.load(Ordering::Acquire))?;
        write.commit()?;
        self.shared.stats.checkpoint_rows.add(count);
        self.shared.stats.checkpoint_bytes.add(bytes);
        self.open_base()
    }

    fn open_base(&self) -> Result<Base, redb::Error> {
        Base::open(&self.database, self.seal.clone(), self.shared.failure.clone())
    }

    fn sealed<'a>(&self, family: Family, key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
        sealed(self.seal.as_deref(), family, key, value)
    }

    /// Invariant: the new base first, then `frozen` goes, under the group's lock. A reader in between
    /// finds each row in either.
    fn publish(&self, frozen: Vec<Frozen>, base: Base) {
        {
            let mut backup = self.shared.backup.lock();
            if let Some(backup) = &mut *backup {
                for frozen in &frozen {
                    backup.note(frozen.group.cell, &frozen.rows);
                }
            }
            *self.shared.base.write() = Arc::new(base);
        }
        for Frozen { group, rows, covered } in frozen {
            group.view.write().frozen = None;
            self.shared.budgets.sub_dirty(rows.bytes());
            group.publish_durable(covered.applied);
        }
    }

    /// Replaces a group's rows by those of a snapshot, in one durable transaction, and drops what was
    /// dirty. A stream that is not whole changes nothing.
    fn install(&self, group: &GroupState, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        self.shared.failure.check()?;
        let mut parser = SnapshotParser::new(snapshot);
        let covered = parser.header()?;
        if covered.applied != meta.last_log_id {
            return Err(SnapshotError::Malformed("it covers something else than announced").into());
        }
        let failed = |error: redb::Error| io::Error::from(self.shared.failure.set_error(DataFile::State, &error));
        let installed = quietly(|| {
            let mut write = self.database.begin_write().map_err(|error| failed(error.into()))?;
            write.set_quick_repair(true);
            // Dropped without a commit, the transaction leaves no trace.
            replace(&write, self.seal.as_deref(), group.cell.get(), &covered, &mut parser)?;
            write.commit().map_err(|error| failed(error.into()))?;
            self.open_base().map_err(failed)
        });
        let base = Arc::new(installed.unwrap_or_else(|panic| Err(failed(contradiction(&*panic).into())))?);
        {
            let mut backup = self.shared.backup.lock();
            if let Some(backup) = &mut *backup {
                backup.replaced(group.cell);
            }
            let mut view = group.view.write();
            *self.shared.base.write() = base;
            let dirty = std::mem::take(&mut view.active);
            self.shared.budgets.sub_dirty(dirty.bytes());
            view.frozen = None;
            view.covered = covered;
            view.changed = false;
        }
        group.publish_durable(meta.last_log_id);
        self.shared.stats.snapshots_installed.add(1);
        Ok(())
    }
}

/// The keys of a group in every table.
fn group_range(group: u32) -> Range<Vec<u8>> {
    let end = group.checked_add(1).map_or_else(|| vec![0xff; 5], |next| row_key(next, &[]));
    row_key(group, &[])..end
}

/// A row's value as it is written. `key` is that on disk.
pub(crate) fn sealed<'a>(seal: Option<&Seal>, family: Family, key: &[u8], value: &'a [u8]) -> Cow<'a, [u8]> {
    match seal {
        None => Cow::Borrowed(value),
        Some(seal) => Cow::Owned(seal.seal(&[&[family.number()], key], value)),
    }
}

fn replace(
    write: &WriteTransaction,
    seal: Option<&Seal>,
    group: u32,
    covered: &Covered,
    parser: &mut SnapshotParser,
) -> io::Result<()> {
    for family in Family::ALL {
        let range = group_range(group);
        let mut table = write.open_table(rows(family)).map_err(io::Error::other)?;
        table.retain_in(range.start.as_slice()..range.end.as_slice(), |_, _| false).map_err(io::Error::other)?;
    }
    let mut key = Vec::new();
    let mut next = parser.row()?;
    while let Some((family, _, _)) = next {
        let mut table = write.open_table(rows(family)).map_err(io::Error::other)?;
        while let Some((of, row, value)) = &next {
            if *of != family {
                break;
            }
            put_row_key(&mut key, group, row);
            table.insert(key.as_slice(), &*sealed(seal, family, &key, value)).map_err(io::Error::other)?;
            next = parser.row()?;
        }
    }
    let covered = encode(covered).map_err(io::Error::other)?;
    let mut groups = write.open_table(GROUPS).map_err(io::Error::other)?;
    groups.insert(group, covered.as_slice()).map_err(io::Error::other)?;
    Ok(())
}
