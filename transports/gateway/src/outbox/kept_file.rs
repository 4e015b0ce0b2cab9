//! A file that keeps its first part on the disk, whatever length it is given: for as long as no more is used, it needs no room.
//!
//! redb gives free pages at the end of its file back to the disk, and takes new ones as holes, whose room is found only when they are
//! written. A gateway that is started on a full disk must write its boot before it may send anything: a small outbox has the pages.
//!
//! A file that is longer than what its header says is one whose last resize was cut short, for redb: it is known from its length when it
//! is opened after a crash, and an outbox is always closed as by a crash ([`super::database`]).

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;
use redb::{BackendError, StorageBackend};

use crate::limits::OUTBOX_KEPT_BYTES;

/// Backend of a file that keeps its first [`OUTBOX_KEPT_BYTES`]. Clones are the same file.
#[derive(Clone, Debug)]
pub(crate) struct KeptFile(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    file: Box<dyn StorageBackend>,
    lengths: Mutex<Lengths>,
}

#[derive(Debug)]
struct Lengths {
    /// Whoever uses the file believes that it has so many bytes.
    told: u64,
    /// And so many it has: never fewer.
    real: u64,
}

impl KeptFile {
    pub(crate) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let told = file.len()?;
        Ok(Self(Arc::new(Inner { file, lengths: Mutex::new(Lengths { told, real: told }) })))
    }

    /// Takes what is to be kept and is not there yet from the disk, if it has it: nothing but a later start needs it.
    pub(crate) fn keep(&self) {
        let mut lengths = self.0.lengths.lock();
        let Some(missing) = OUTBOX_KEPT_BYTES.checked_sub(lengths.real).filter(|missing| *missing > 0) else { return };
        let taken = self.0.file.set_len(OUTBOX_KEPT_BYTES).and_then(|()| {
            // A hole has no room of its own.
            self.0.file.write(lengths.real, &vec![0; missing as usize])
        });
        match taken {
            Ok(()) => lengths.real = OUTBOX_KEPT_BYTES,
            Err(error) => {
                tracing::warn!(%error, "the disk of the outbox has no room to keep for a later start");
                match self.0.file.set_len(lengths.real) {
                    Ok(()) => {}
                    // Then it is as long as it was made.
                    Err(_) => lengths.real = self.0.file.len().unwrap_or(lengths.real),
                }
            }
        }
    }
}

impl StorageBackend for KeptFile {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.0.lengths.lock().told)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        if offset + out.len() as u64 > self.0.lengths.lock().told {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.0.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut lengths = self.0.lengths.lock();
        let real = len.max(lengths.real.min(OUTBOX_KEPT_BYTES));
        if real != lengths.real {
            self.0.file.set_len(real)?;
            lengths.real = real;
        }
        lengths.told = len;
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use twin_faulty_disk::FaultyDisk;

    use super::*;

    #[test]
    fn what_is_kept_needs_no_room_whatever_length_was_told_meanwhile() {
        let disk = FaultyDisk::new();
        let (file, _) = disk.open("file").unwrap();
        let file = KeptFile::new(file).unwrap();
        file.keep();
        assert_eq!(file.len().unwrap(), 0, "nobody uses it yet");
        file.set_len(2 * OUTBOX_KEPT_BYTES).unwrap();
        file.set_len(4096).unwrap();
        assert_eq!(file.len().unwrap(), 4096);
        assert!(file.read(4096, &mut [0]).is_err(), "nobody reads behind the end");
        disk.leave_room(Some(0));
        file.set_len(2 * OUTBOX_KEPT_BYTES).unwrap();
        file.write(0, &vec![7; OUTBOX_KEPT_BYTES as usize]).unwrap();
        assert_eq!(file.write(OUTBOX_KEPT_BYTES, &[7]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.set_len(4096).unwrap();
        assert_eq!(file.0.file.len().unwrap(), OUTBOX_KEPT_BYTES, "the rest is given back");
    }

    #[test]
    fn a_disk_that_has_too_little_keeps_the_file_as_it_is() {
        let disk = FaultyDisk::new();
        let (file, _) = disk.open("file").unwrap();
        file.set_len(8192).unwrap();
        disk.leave_room(Some(0));
        let file = KeptFile::new(file).unwrap();
        file.keep();
        assert_eq!((file.len().unwrap(), file.0.file.len().unwrap()), (8192, 8192));
        disk.leave_room(None);
        file.keep();
        assert_eq!((file.len().unwrap(), file.0.file.len().unwrap()), (8192, OUTBOX_KEPT_BYTES));
    }
}
