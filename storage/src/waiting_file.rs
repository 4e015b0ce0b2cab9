//! A file whose writes wait for room on the disk, so that redb and the journal, which end with the first error, never see one that passes.

use std::io;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{BackendError, StorageBackend};

use crate::failure::DataFile;
use crate::limits::DISK_LOOK_BYTES;
use crate::space::Space;

/// Backend of one of the files.
#[derive(Debug)]
pub(crate) struct WaitingFile {
    inner: Box<dyn StorageBackend>,
    file: DataFile,
    space: Arc<Space>,
    written_bytes: AtomicU64,
}

/// Is this the want of room that may pass?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl WaitingFile {
    pub(crate) fn new(inner: Box<dyn StorageBackend>, file: DataFile, space: Arc<Space>) -> Self {
        Self { inner, file, space, written_bytes: AtomicU64::new(0) }
    }

    /// Tries until there is room, or nobody waits any more.
    ///
    /// Safe to repeat: a write names its place, so whatever part of it went through is written over with the same bytes.
    fn patiently(&self, attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match attempt() {
                Err(error) if is_full(&error) && self.space.wait(self.file) => {}
                done => {
                    if done.is_ok() {
                        self.space.went_through(self.file);
                    }
                    return done;
                }
            }
        }
    }
}

impl StorageBackend for WaitingFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.patiently(|| self.inner.set_len(len))
    }

    /// Not patient: after a sync that failed, nobody knows which writes are on the disk, and a second sync would not say
    /// so. (A file system that promises no room at the write tells so here; the usual ones do.)
    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let before = self.written_bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if before / DISK_LOOK_BYTES != (before + data.len() as u64) / DISK_LOOK_BYTES {
            self.space.look();
        }
        self.patiently(|| self.inner.write(offset, data))
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
