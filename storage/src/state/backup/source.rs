//! Reading a backup, chunk by chunk.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use twin_core::numbers::CellId;

use super::rows::{RowsChunk, row_bytes};
use super::tracking::{Read, RowName, Tracking};
use crate::codec;
use crate::failure::StorageFailure;
use crate::families::Family;
use crate::limits::{
    BACKUP_CHANGED_BYTES_MAX, BACKUP_CHUNK_BYTES, BACKUP_END_BYTES_MAX, BACKUP_END_ROWS_MAX, BACKUP_REREAD_DIVISOR,
    BACKUP_REREAD_ROWS, BACKUP_ROUNDS_MAX, BACKUP_SAMPLE_ROWS,
};
use crate::state::base::Base;
use crate::state::checkpoint::Command;
use crate::state::group::StateShared;
use crate::state::tables::{Covered, row_key};

/// Why there is no backup, or no more of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// One at a time: each reads the whole file.
    #[error("another backup is under way: wait until it has ended")]
    UnderWay,
    /// Changes come faster than the backup is taken.
    #[error(
        "rows change faster than the backup is taken ({BACKUP_CHANGED_BYTES_MAX} bytes of names of changed rows wait, which is the \
         bound): take it over a faster link, or at a quieter time"
    )]
    Overtaken,
    /// A snapshot replaced all rows of a group meanwhile.
    #[error("group {0} was replaced by a snapshot of another node meanwhile: begin again")]
    Replaced(CellId),
    /// The storage failed or is shut down.
    #[error(transparent)]
    Storage(#[from] StorageFailure),
    /// The storage is shut down.
    #[error("the storage is shut down: start the node, and begin again")]
    ShutDown,
    /// The file cannot be read.
    #[error("state.redb cannot be read: {0}; check the disk")]
    File(redb::Error),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes to seal the backup with")]
    Entropy,
    /// What stands in a backup is no row.
    #[error("not rows of a backup: {0}")]
    Malformed(&'static str),
    /// A family that this release does not know.
    #[error(
        "key family {0} is not known to this release: restore with the release that wrote the backup, or a newer one"
    )]
    Family(u8),
}

impl From<redb::StorageError> for BackupError {
    fn from(error: redb::StorageError) -> Self {
        Self::File(error.into())
    }
}

/// Begins backups of a storage. Cheap to clone.
#[derive(Clone)]
pub struct BackupSource {
    shared: Arc<StateShared>,
}

impl std::fmt::Debug for BackupSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupSource").finish_non_exhaustive()
    }
}

/// A part of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupChunk {
    /// Rows of this group follow.
    Group(CellId),
    /// Rows, see [`super::read_rows`]. One may have come before: this is how it is now.
    Rows {
        /// How many.
        count: u32,
        /// About [`BACKUP_CHUNK_BYTES`] of them.
        bytes: Bytes,
    },
    /// That were all rows of the group.
    End {
        /// The group.
        group: CellId,
        /// What they cover: opaque, for [`crate::Restorer::end_group`].
        covered: Bytes,
    },
}

/// A backup under way. Dropped, it ends.
pub struct Backup {
    shared: Arc<StateShared>,
    /// Still to be read, the directory last.
    groups: Vec<CellId>,
    phase: Phase,
    /// Read already.
    ready: VecDeque<BackupChunk>,
    /// The last chunk was of rows that changed.
    reread: bool,
}

impl std::fmt::Debug for Backup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("groups", &self.groups).finish_non_exhaustive()
    }
}

enum Phase {
    /// Between groups.
    Next,
    /// Reading the group in key order.
    Rows(CellId),
    /// What changed since is read until nothing more did; how often it was not enough.
    Settle(CellId, u32),
}

impl BackupSource {
    pub(crate) fn new(shared: Arc<StateShared>) -> Self {
        Self { shared }
    }

    /// Begins a backup. Everything applied before is in it.
    pub async fn begin(&self) -> Result<Backup, BackupError> {
        let backup = {
            let mut tracking = self.shared.backup.lock();
            if tracking.is_some() {
                return Err(BackupError::UnderWay);
            }
            *tracking = Some(Tracking::default());
            // By number, the highest first: group 0 is the directory.
            let groups = self.shared.groups.read().keys().copied().collect();
            Backup {
                shared: Arc::clone(&self.shared),
                groups,
                phase: Phase::Next,
                ready: VecDeque::new(),
                reread: false,
            }
        };
        let (reply, done) = oneshot::channel();
        self.shared.send(Command::Now { reply }).map_err(|_| BackupError::ShutDown)?;
        done.await.map_err(|_| BackupError::ShutDown)??;
        Ok(backup)
    }
}

impl Backup {
    /// About how many rows and bytes of rows there will be. Reads a little of the file.
    pub fn estimate(&self) -> Result<(u64, u64), BackupError> {
        let base = Arc::clone(&self.shared.base.read());
        let (mut rows, mut bytes) = (0, 0);
        for family in Family::ALL {
            let count = base.count(family)?;
            let (mut sampled, mut sampled_bytes) = (0, 0);
            for row in base.range(family, &[])?.take(BACKUP_SAMPLE_ROWS) {
                let (key, value) = row?;
                sampled += 1;
                sampled_bytes += row_bytes(key.value().len().saturating_sub(4), value.value().len());
            }
            rows += count;
            bytes += (count * sampled_bytes).checked_div(sampled).unwrap_or(0);
        }
        Ok((rows, bytes))
    }

    /// The next chunk; `None` after the last. Reads the file: call it off the runtime's threads. After an error there is no more.
    pub fn next_chunk(&mut self) -> Result<Option<BackupChunk>, BackupError> {
        self.shared.failure.check()?;
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            match self.phase {
                Phase::Next => {
                    let Some(group) = self.groups.pop() else { return Ok(None) };
                    self.tracking(|tracking, _| {
                        tracking.begin(group);
                        Ok(())
                    })?;
                    self.phase = Phase::Rows(group);
                    return Ok(Some(BackupChunk::Group(group)));
                }
                Phase::Rows(group) => {
                    if let Some(chunk) = self.rows(group)? {
                        return Ok(Some(chunk));
                    }
                    self.phase = Phase::Settle(group, 0);
                }
                Phase::Settle(group, rounds) => self.settle(group, rounds)?,
            }
        }
    }

    /// Does `work` with what is noted and the checkpoint of this moment, which nobody replaces meanwhile.
    fn tracking<T>(
        &self,
        work: impl FnOnce(&mut Tracking, Arc<Base>) -> Result<T, BackupError>,
    ) -> Result<T, BackupError> {
        let mut tracking = self.shared.backup.lock();
        let tracking = tracking.as_mut().ok_or(BackupError::ShutDown)?;
        tracking.check()?;
        let base = Arc::clone(&self.shared.base.read());
        work(tracking, base)
    }

    /// The next rows in key order, or some that changed where many did; `None`: all were read.
    fn rows(&mut self, group: CellId) -> Result<Option<BackupChunk>, BackupError> {
        // Never twice in a row, so that the reading gets on whatever happens behind it.
        let may_reread = !std::mem::replace(&mut self.reread, false);
        let (chunk, reread) = self.tracking(|tracking, base| {
            if may_reread && tracking.changed_bytes() > BACKUP_CHANGED_BYTES_MAX / BACKUP_REREAD_DIVISOR {
                let names = tracking.take(BACKUP_REREAD_ROWS);
                return Ok((read_again(&base, group, &names)?, true));
            }
            let mut chunk = RowsChunk::default();
            let read = read_on(&base, group, tracking.read(), &mut chunk)?;
            tracking.read_to(read);
            Ok((chunk, false))
        })?;
        self.reread = reread;
        Ok(rows_chunk(chunk))
    }

    /// Reads what changed. If that was all, at one checkpoint, the group is done.
    fn settle(&mut self, group: CellId, rounds: u32) -> Result<(), BackupError> {
        let (names, base, were_all) = self.tracking(|tracking, base| {
            let names = tracking.take(BACKUP_END_ROWS_MAX);
            Ok((names, base, tracking.is_unchanged()))
        })?;
        // Not under the lock: what is replaced from here on is noted, and counts only if this was not all.
        let mut chunk = RowsChunk::default();
        let mut bytes = 0;
        let mut done = 0;
        for (family, key) in &names {
            if bytes > BACKUP_END_BYTES_MAX {
                break;
            }
            let value = base.get(*family, group.get(), key)?;
            bytes += row_bytes(key.len(), value.as_ref().map_or(0, Bytes::len));
            chunk.put(*family, key, value.as_deref());
            if chunk.bytes.len() >= BACKUP_CHUNK_BYTES {
                self.ready.extend(rows_chunk(std::mem::take(&mut chunk)));
            }
            done += 1;
        }
        self.ready.extend(rows_chunk(chunk));
        if were_all && done == names.len() {
            let covered = base.covered(group.get()).map_err(BackupError::File)?;
            self.ready.push_back(BackupChunk::End { group, covered: encode(&covered)? });
            self.phase = Phase::Next;
            return self.tracking(|tracking, _| {
                tracking.end();
                Ok(())
            });
        }
        self.phase = Phase::Settle(group, rounds + 1);
        self.tracking(|tracking, _| {
            if rounds + 1 >= BACKUP_ROUNDS_MAX {
                tracking.overtaken();
            }
            names.into_iter().skip(done).for_each(|name| tracking.insert(name));
            Ok(())
        })
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        *self.shared.backup.lock() = None;
    }
}

fn encode(covered: &Covered) -> Result<Bytes, BackupError> {
    let encoded =
        codec::encode(covered, 256).map_err(|error| BackupError::File(redb::Error::Corrupted(error.to_string())))?;
    Ok(encoded.into())
}

fn rows_chunk(chunk: RowsChunk) -> Option<BackupChunk> {
    (chunk.count > 0).then(|| BackupChunk::Rows { count: chunk.count, bytes: chunk.bytes.freeze() })
}

fn read_again(base: &Base, group: CellId, names: &[RowName]) -> Result<RowsChunk, BackupError> {
    let mut chunk = RowsChunk::default();
    for (family, key) in names {
        let value = base.get(*family, group.get(), key)?;
        chunk.put(*family, key, value.as_deref());
    }
    Ok(chunk)
}

/// Fills the chunk with the rows behind those that were read, and says how far it came.
fn read_on(base: &Arc<Base>, group: CellId, read: &Read, chunk: &mut RowsChunk) -> Result<Read, BackupError> {
    let prefix = group.get().to_be_bytes();
    let (first, mut from) = match read {
        Read::Nothing => (Family::ALL[0], row_key(group.get(), &[])),
        Read::UpTo((family, key)) => {
            let mut behind = row_key(group.get(), key);
            // The next key there can be.
            behind.push(0);
            (*family, behind)
        }
        Read::All => return Ok(Read::All),
    };
    for family in Family::ALL.into_iter().skip(first.at()) {
        for row in base.range(family, &from)? {
            let (key, value) = row?;
            let value = base.value(family, key.value(), value.value())?;
            let Some(key) = key.value().strip_prefix(prefix.as_slice()) else { break };
            chunk.put(family, key, Some(&value));
            if chunk.bytes.len() >= BACKUP_CHUNK_BYTES {
                return Ok(Read::UpTo((family, key.into())));
            }
        }
        from = row_key(group.get(), &[]);
    }
    Ok(Read::All)
}
