//! Room on the disk: who waits for it, and what is refused meanwhile.
//!
//! Two lines of defence. While less than a reserve is free, nothing new is admitted, and what was admitted before still fits. Where
//! that was not enough (others fill disks, too), a write of ours waits below redb until there is room: redb takes an error of
//! its file for the end of the file, and openraft an error of its log for the end of the group, so neither hears of it. Reads go on
//! beside a write that waits. Both end by themselves when there is room again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twin_core::limits::ALARM_RESERVE_PART;
use twin_waiting_file::{Patience, Room};

use crate::budgets::Pressure;
use crate::disk::Disk;
use crate::failure::DataFile;
use crate::limits::{DISK_LOOK_BYTES, DISK_RETRY_INTERVAL};
use crate::stats::StorageStats;

/// No disk tells that it has so much left: nobody knows how much.
const UNKNOWN: u64 = u64::MAX;

/// Room on the disk of a node's files.
#[derive(Debug)]
pub(crate) struct Space {
    disk: Arc<dyn Disk>,
    stats: Arc<StorageStats>,
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    /// Does a write of this file wait?
    waits: [AtomicBool; DataFile::ALL.len()],
    patience: Patience,
}

const fn at(file: DataFile) -> usize {
    match file {
        DataFile::Log => 0,
        DataFile::State => 1,
        DataFile::Journal => 2,
    }
}

impl Space {
    pub(crate) fn new(disk: Arc<dyn Disk>, stats: Arc<StorageStats>, reserve_bytes: u64) -> Self {
        let space = Self {
            disk,
            stats,
            reserve_bytes,
            free_bytes: AtomicU64::new(UNKNOWN),
            waits: Default::default(),
            patience: Patience::default(),
        };
        space.look();
        space
    }

    /// Asks the disk how much is free.
    pub(crate) fn look(&self) {
        // A disk that does not answer is looked after by the writes themselves.
        let free = self.disk.free_bytes().ok().flatten().unwrap_or(UNKNOWN);
        self.free_bytes.store(free, Ordering::Relaxed);
    }

    /// What is free, as of the last look; `None` if nobody knows.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        Some(self.free_bytes.load(Ordering::Relaxed)).filter(|free| *free != UNKNOWN)
    }

    fn waits(&self) -> bool {
        self.waits.iter().any(|waits| waits.load(Ordering::Relaxed))
    }

    /// Does a write of this file wait?
    pub(crate) fn file_waits(&self, file: DataFile) -> bool {
        self.waits[at(file)].load(Ordering::Relaxed)
    }

    /// Is there less than the reserve?
    pub(crate) fn is_short(&self) -> bool {
        self.waits() || self.free_bytes.load(Ordering::Relaxed) < self.reserve_bytes
    }

    /// Why nothing may be proposed for want of room, if it is so; `reserve_bytes`: so much must be left.
    fn pressure_below(&self, reserve_bytes: u64) -> Option<Pressure> {
        let (waits, free_bytes) = (self.waits(), self.free_bytes.load(Ordering::Relaxed));
        (waits || free_bytes < reserve_bytes).then(|| Pressure::Disk {
            directory: self.disk.path(DataFile::State).parent().unwrap_or(Path::new(".")).to_path_buf(),
            // A write that found none knows better than the file system.
            free_bytes: if waits { 0 } else { free_bytes },
            reserve_bytes,
        })
    }

    /// Why nothing may be proposed for want of room, if it is so.
    pub(crate) fn pressure(&self) -> Option<Pressure> {
        self.pressure_below(self.reserve_bytes)
    }

    /// As [`Self::pressure`], for alarms: they may take one part of the reserve. A write that waits for room holds them up, too, for it
    /// is before them in the log.
    pub(crate) fn alarm_pressure(&self) -> Option<Pressure> {
        self.pressure_below(self.reserve_bytes - self.reserve_bytes / ALARM_RESERVE_PART)
    }

    /// From here on a write waits for room, until [`Self::give_up`].
    pub(crate) fn be_patient(&self) {
        self.patience.be_patient();
    }

    /// Writes that wait fail, and none waits any more: the files are being closed.
    pub(crate) fn give_up(&self) {
        self.patience.give_up();
    }

    /// A write of `file` found no room. Waits a moment, and says whether it is worth another try.
    fn wait(&self, file: DataFile) -> bool {
        let patient = self.patience.wait(DISK_RETRY_INTERVAL, || {
            if !self.waits[at(file)].swap(true, Ordering::Relaxed) {
                self.stats.disk_waits.add(1);
                let path = self.disk.path(file);
                tracing::error!(
                    path = %path.display(),
                    free_bytes = self.disk.free_bytes().ok().flatten(),
                    reserve_bytes = self.reserve_bytes,
                    "the disk is full: make room on it; writes are refused until there is some, reads go on"
                );
            }
        });
        self.look();
        patient
    }

    /// A write of `file` went through.
    fn went_through(&self, file: DataFile) {
        // Looked at first: this is asked at every write.
        if self.waits[at(file)].load(Ordering::Relaxed) && self.waits[at(file)].swap(false, Ordering::Relaxed) {
            self.look();
            tracing::warn!(%file, "there is room on the disk again");
        }
    }
}

/// The room of one of the files.
#[derive(Debug)]
pub(crate) struct FileRoom {
    file: DataFile,
    space: Arc<Space>,
    written_bytes: AtomicU64,
    /// Nothing touches the file any more.
    is_over: Arc<AtomicBool>,
}

impl FileRoom {
    pub(crate) fn new(file: DataFile, space: Arc<Space>) -> Self {
        Self { file, space, written_bytes: AtomicU64::new(0), is_over: Arc::default() }
    }

    /// Set, it ends all reading and writing of the file.
    pub(crate) fn over(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.is_over)
    }
}

impl Room for FileRoom {
    fn writes(&self, _: u64, bytes: u64) {
        let before = self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before / DISK_LOOK_BYTES != (before + bytes) / DISK_LOOK_BYTES {
            self.space.look();
        }
    }

    fn wait(&self) -> bool {
        self.space.wait(self.file)
    }

    fn went_through(&self) {
        self.space.went_through(self.file);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}
