//! Writing a node's files anew from a backup.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use redb::WriteTransaction;
use twin_core::numbers::CellId;

use crate::codec;
use crate::disk::Disk;
use crate::failure::DataFile;
use crate::guard::OpenDatabase;
use crate::limits::{LOG_CACHE_BYTES, RESTORE_COMMIT_BYTES};
use crate::log;
use crate::open::open_file;
use crate::open_error::OpenError;
use crate::options::Options;
use crate::seal::Seal;
use crate::space::Space;
use crate::state::{self, BackupRow, Covered};
use crate::stats::StorageStats;

/// Why a storage could not be restored. What was written so far is of no use.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A file cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file cannot be written.
    #[error("{path} cannot be written: {cause}; make room, empty the directory and restore again")]
    Write {
        /// The file.
        path: PathBuf,
        /// What was said.
        cause: redb::Error,
    },
    /// The backup contradicts itself.
    #[error("the backup of group {group} {why}: take another backup")]
    Malformed {
        /// The group.
        group: CellId,
        /// What is wrong.
        why: String,
    },
}

/// Writes `state.redb` and `log.redb` of an empty directory; the journal is made by the first start. Blocks.
///
/// The log is empty and begins behind what the rows cover, and the vote is the one under which that was written: a replica that starts on
/// it goes on where the backup was, in a higher term.
///
/// Until [`Restorer::finish`] returns, the files are not whole: whoever uses this must see to it that no node starts on them.
pub struct Restorer {
    disk: Arc<dyn Disk>,
    state: OpenDatabase,
    state_seal: Option<Arc<Seal>>,
    log: OpenDatabase,
    write: Option<WriteTransaction>,
    unwritten_bytes: u64,
    groups: Vec<(CellId, Covered)>,
}

impl fmt::Debug for Restorer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Restorer").field("groups", &self.groups.len()).finish_non_exhaustive()
    }
}

impl Restorer {
    /// Makes both files. They must not be there.
    pub fn create(options: Options) -> Result<Self, RestoreError> {
        let (disk, needed_bytes) = (Arc::clone(&options.disk), options.first_start_bytes());
        let free_bytes = || disk.free_bytes().ok().flatten();
        Ok(Self::make(options).map_err(|error| error.or_no_room(free_bytes, needed_bytes, true))?)
    }

    fn make(options: Options) -> Result<Self, OpenError> {
        let space = Arc::new(Space::new(Arc::clone(&options.disk), Arc::new(StorageStats::default()), 0));
        let disk = options.disk;
        let seal = options.seal.as_ref();
        let log = open_file(&*disk, &space, DataFile::Log, LOG_CACHE_BYTES, seal, log::make_tables)?.0;
        let state = open_file(&*disk, &space, DataFile::State, options.state_cache_bytes, seal, state::make_tables)?.0;
        let state_seal = Seal::open(&state, &*disk, DataFile::State, seal)?;
        Ok(Self { disk, state, state_seal, log, write: None, unwritten_bytes: 0, groups: Vec::new() })
    }

    /// Writes rows of a group; of the same row, the last counts.
    pub fn put(&mut self, group: CellId, rows: Vec<BackupRow>) -> Result<(), RestoreError> {
        let write = match self.write.take() {
            Some(write) => write,
            None => self.state.begin_write().map_err(|error| self.failed(DataFile::State, error.into()))?,
        };
        match put_rows(&write, self.state_seal.as_deref(), group, rows) {
            Ok(bytes) => self.unwritten_bytes += bytes,
            Err(error) => return Err(self.failed(DataFile::State, error)),
        }
        if self.unwritten_bytes >= RESTORE_COMMIT_BYTES {
            self.unwritten_bytes = 0;
            return write.commit().map_err(|error| self.failed(DataFile::State, error.into()));
        }
        self.write = Some(write);
        Ok(())
    }

    /// All rows of the group were put; `covered` came with their end.
    pub fn end_group(&mut self, group: CellId, covered: &Bytes) -> Result<(), RestoreError> {
        let malformed = |why: String| RestoreError::Malformed { group, why };
        let covered: Covered =
            codec::decode(covered).map_err(|error| malformed(format!("does not say what it covers ({error})")))?;
        if self.groups.iter().any(|(known, _)| *known == group) {
            return Err(malformed("comes twice".to_owned()));
        }
        self.groups.push((group, covered));
        Ok(())
    }

    /// Writes what is left, and closes the files, durably.
    pub fn finish(mut self) -> Result<(), RestoreError> {
        let write = match self.write.take() {
            Some(write) => Ok(write),
            None => self.state.begin_write(),
        };
        let mut write = write.map_err(|error| self.failed(DataFile::State, error.into()))?;
        // So that the first start opens it at once.
        write.set_quick_repair(true);
        let covered =
            self.groups.iter().try_for_each(|(group, covered)| state::put_covered(&write, group.get(), covered));
        covered.map_err(|error| self.failed(DataFile::State, error))?;
        write.commit().map_err(|error| self.failed(DataFile::State, error.into()))?;
        let mut write = self.log.begin_write().map_err(|error| self.failed(DataFile::Log, error.into()))?;
        write.set_quick_repair(true);
        for (group, covered) in &self.groups {
            let Some(applied) = covered.applied else { continue };
            let Some(replica) = covered.membership.voter_ids().next() else {
                return Err(RestoreError::Malformed { group: *group, why: "has no voter".to_owned() });
            };
            log::begin_behind(&write, group.get(), applied, replica)
                .map_err(|error| self.failed(DataFile::Log, error))?;
        }
        write.commit().map_err(|error| self.failed(DataFile::Log, error.into()))
    }

    fn failed(&self, file: DataFile, cause: redb::Error) -> RestoreError {
        RestoreError::Write { path: self.disk.path(file), cause }
    }
}

fn put_rows(
    write: &WriteTransaction,
    seal: Option<&Seal>,
    group: CellId,
    rows: Vec<BackupRow>,
) -> Result<u64, redb::Error> {
    let mut bytes = 0;
    let mut key = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while let Some(family) = rows.peek().map(|row| row.family) {
        let mut table = write.open_table(state::rows(family))?;
        let of_family = |row: &BackupRow| row.family == family;
        while let Some(row) = rows.next_if(of_family) {
            state::put_row_key(&mut key, group.get(), &row.key);
            match &row.value {
                Some(value) => drop(table.insert(key.as_slice(), &*state::sealed(seal, family, &key, value))?),
                None => drop(table.remove(key.as_slice())?),
            }
            bytes += (key.len() + row.value.map_or(0, |value| value.len())) as u64;
        }
    }
    Ok(bytes)
}
