//! How a storage is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::{DirectoryDisk, Disk};
use crate::failure::DataFile;
use crate::limits::{
    CACHE_BYTES, CHECKPOINT_INTERVAL, DIRTY_BYTES_MAX, DISK_RESERVE_BYTES, FIRST_FILES_BYTES, LOG_BYTES_MAX,
    LOG_SLOT_BYTES,
};
use crate::seal::SealOptions;

/// Options of [`crate::Storage::open`]. Start from [`Options::in_directory`] or [`Options::on_disk`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
    /// Time between checkpoints. Longer means more to re-apply at a start, and fewer writes.
    pub checkpoint_interval: Duration,
    /// Bytes of a slot of the journal, where one is made. A multiple of 512; an entry must fit.
    pub log_slot_bytes: u64,
    /// Page cache of `state.redb`.
    pub state_cache_bytes: usize,
    /// Budget of applied rows that are not in a checkpoint.
    pub dirty_bytes_max: u64,
    /// Budget of log that is not purged.
    pub log_bytes_max: u64,
    /// While the disk has less than this left, nothing is admitted, see [`crate::Pressure::Disk`].
    pub disk_reserve_bytes: u64,
    /// Seals the values on the disk. Only a directory that begins so can be opened so, and it can be opened in no other way.
    pub seal: Option<SealOptions>,
}

impl Options {
    /// Files in a directory, which is made if it does not exist.
    pub fn in_directory(directory: impl AsRef<Path>) -> Self {
        Self::on_disk(Arc::new(DirectoryDisk::new(directory)))
    }

    /// Room on the disk that a first start needs: its files, and the reserve, below which nothing is admitted.
    pub fn first_start_bytes(&self) -> u64 {
        // The slot that is written, and the spare one.
        self.disk_reserve_bytes + 2 * self.log_slot_bytes + FIRST_FILES_BYTES
    }

    /// As [`Self::first_start_bytes`], of a start that finds the directory as it is; `None`: no first start, as the log has all that it
    /// needs to begin. What one that was cut short, or a restore, left counts as far as it goes.
    pub fn first_start_bytes_left(&self) -> Option<u64> {
        let bytes = |file| std::fs::metadata(self.disk.path(file)).map(|found| found.len()).ok();
        let files: Vec<Option<u64>> = DataFile::ALL.into_iter().map(bytes).collect();
        let log_bytes = bytes(DataFile::Journal).unwrap_or(0);
        let is_first = files.iter().any(Option::is_none) || log_bytes < self.log_slot_bytes;
        is_first.then(|| self.first_start_bytes().saturating_sub(log_bytes))
    }

    /// Files of some other disk: the seam for simulations.
    pub fn on_disk(disk: Arc<dyn Disk>) -> Self {
        Self {
            disk,
            checkpoint_interval: CHECKPOINT_INTERVAL,
            log_slot_bytes: LOG_SLOT_BYTES,
            state_cache_bytes: CACHE_BYTES,
            dirty_bytes_max: DIRTY_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
            disk_reserve_bytes: DISK_RESERVE_BYTES,
            seal: None,
        }
    }
}
