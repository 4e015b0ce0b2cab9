//! The outbox file as redb sees it: its writes wait for room on the disk, so that redb, which ends with the first error, never
//! sees one that passes; and they are counted.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Condvar, Mutex};
use redb::{BackendError, StorageBackend};

use crate::limits::{DISK_BLOCK_BYTES, DISK_RETRY_INTERVAL};

/// The disk under the outbox: is there room, and how much was written.
#[derive(Debug)]
pub(crate) struct Space {
    path: PathBuf,
    written_bytes: AtomicU64,
    /// Does a write wait?
    waits: AtomicBool,
    /// May a write wait? Not while the file is opened or closed: whoever does that is told at once.
    patient: Mutex<bool>,
    impatience: Condvar,
}

/// Is this the want of room that may pass?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Space {
    pub(crate) fn new(path: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            path,
            written_bytes: AtomicU64::new(0),
            waits: AtomicBool::new(false),
            patient: Mutex::new(false),
            impatience: Condvar::new(),
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
        *self.patient.lock() = true;
    }

    /// A write that waits fails, and none waits any more: the file is being closed.
    pub(crate) fn give_up(&self) {
        *self.patient.lock() = false;
        self.impatience.notify_all();
    }

    /// A write found no room. Waits a moment, and says whether it is worth another try.
    fn wait(&self) -> bool {
        let mut patient = self.patient.lock();
        if !*patient {
            return false;
        }
        if !self.waits.swap(true, Ordering::Relaxed) {
            let path = self.path.display();
            tracing::error!(%path, "the disk of the outbox is full: reports are refused until there is room, sending goes on");
        }
        self.impatience.wait_for(&mut patient, DISK_RETRY_INTERVAL);
        *patient
    }

    fn went_through(&self) {
        // Looked at first: this is asked at every write.
        if self.is_full() && self.waits.swap(false, Ordering::Relaxed) {
            tracing::warn!(path = %self.path.display(), "the disk of the outbox has room again");
        }
    }
}

/// Backend of the outbox file.
#[derive(Debug)]
pub(crate) struct PatientFile {
    inner: Box<dyn StorageBackend>,
    space: Arc<Space>,
}

impl PatientFile {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, space: Arc<Space>) -> Self {
        Self { inner, space }
    }

    /// Tries until there is room, or nobody waits any more.
    ///
    /// Safe to repeat: a write names its place, so whatever part of it went through is written over with the same bytes.
    fn patiently(&self, attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match attempt() {
                Err(error) if is_full(&error) && self.space.wait() => {}
                done => {
                    if done.is_ok() {
                        self.space.went_through();
                    }
                    return done;
                }
            }
        }
    }
}

impl StorageBackend for PatientFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.patiently(|| self.inner.set_len(len))
    }

    /// Not patient: after a sync that failed, nobody knows which writes are on the disk, and a second sync would not say so. (A
    /// file system that promises no room at the write tells so here; the usual ones do.)
    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.patiently(|| self.inner.write(offset, data))?;
        let blocks = (offset + data.len() as u64).div_ceil(DISK_BLOCK_BYTES) - offset / DISK_BLOCK_BYTES;
        self.space.written_bytes.fetch_add(blocks * DISK_BLOCK_BYTES, Ordering::Relaxed);
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
