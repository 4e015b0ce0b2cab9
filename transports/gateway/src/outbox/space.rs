//! The disk under the outbox: whether there is room, and how much was written. Writes that find none wait ([`twin_waiting_file`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use twin_waiting_file::{Patience, Room};

use crate::limits::{DISK_BLOCK_BYTES, DISK_RETRY_INTERVAL};

/// The disk under the outbox: is there room, and how much was written.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    written_bytes: AtomicU64,
    /// Does a write wait?
    waits: AtomicBool,
    patience: Patience,
}

impl Space {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            written_bytes: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            patience: Patience::default(),
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that were written to the file in this run, in whole blocks as the disk writes them.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes.load(Ordering::Relaxed)
    }

    /// Does a write wait for room?
    pub(crate) fn is_full(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// From here on a write waits for room, until [`Self::give_up`].
    pub(crate) fn be_patient(&self) {
        self.patience.be_patient();
    }

    /// A write that waits fails, and none waits any more: the file is being closed.
    pub(crate) fn give_up(&self) {
        self.patience.give_up();
    }
}

/// The room of the outbox file.
#[derive(Debug)]
pub(crate) struct OutboxRoom(pub(crate) Arc<Space>);

impl Room for OutboxRoom {
    fn wait(&self) -> bool {
        self.0.patience.wait(DISK_RETRY_INTERVAL, || {
            if !self.0.waits.swap(true, Ordering::Relaxed) {
                let path = self.0.path.display();
                tracing::error!(%path, "the disk of the outbox is full: reports are refused until there is room, sending goes on");
            }
        })
    }

    fn went_through(&self) {
        // Looked at first: this is asked at every write.
        if self.0.is_full() && self.0.waits.swap(false, Ordering::Relaxed) {
            tracing::warn!(path = %self.0.path.display(), "the disk of the outbox has room again");
        }
    }

    fn wrote(&self, offset: u64, bytes: u64) {
        let blocks = (offset + bytes).div_ceil(DISK_BLOCK_BYTES) - offset / DISK_BLOCK_BYTES;
        self.0.written_bytes.fetch_add(blocks * DISK_BLOCK_BYTES, Ordering::Relaxed);
    }
}
