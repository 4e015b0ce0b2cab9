//! The backend.

use std::fmt::Debug;
use std::io;
use std::ops::Bound;

use redb::{BackendError, StorageBackend};

/// Who knows of the room on a file's disk. Called from the thread that writes.
pub trait Room: Debug + Send + Sync + 'static {
    /// A write is about to be tried.
    fn writes(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }

    /// A write, or a new length, found no room. Waits a moment, and says whether it is worth another try.
    fn wait(&self) -> bool;

    /// One went through. Asked at every write, so it must cost next to nothing.
    fn went_through(&self);

    /// Is the file over, so that nothing may touch it any more but what closes it? Asked at every call, so it must cost next to nothing.
    fn is_over(&self) -> bool {
        false
    }

    /// So much was written here.
    fn wrote(&self, offset: u64, bytes: u64) {
        let _ = (offset, bytes);
    }
}

/// Backend of a file.
#[derive(Debug)]
pub struct WaitingFile<R> {
    inner: Box<dyn StorageBackend>,
    room: R,
}

impl<R: Room> WaitingFile<R> {
    /// A new length, if there is room for it now.
    pub fn set_len_if_it_fits(&self, len: u64) -> io::Result<bool> {
        match self.inner.set_len(len) {
            Err(error) if is_full(&error) => Ok(false),
            done => done.map(|()| true),
        }
    }
}

/// Is this the want of room that may pass?
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl<R: Room> WaitingFile<R> {
    /// In front of this file.
    pub fn new(inner: Box<dyn StorageBackend>, room: R) -> Self {
        Self { inner, room }
    }

    /// What is over is neither read nor written.
    fn check(&self) -> io::Result<()> {
        if self.room.is_over() { Err(io::Error::other("the file is being closed")) } else { Ok(()) }
    }

    /// Tries until there is room, or nobody waits any more.
    ///
    /// Safe to repeat: a write names its place, so whatever part of it went through is written over with the same bytes.
    fn patiently(&self, attempt: impl Fn() -> io::Result<()>) -> io::Result<()> {
        loop {
            match attempt() {
                Err(error) if is_full(&error) && self.room.wait() => {}
                done => {
                    if done.is_ok() {
                        self.room.went_through();
                    }
                    return done;
                }
            }
        }
    }
}

impl<R: Room> StorageBackend for WaitingFile<R> {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.check()?;
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check()?;
        self.patiently(|| self.inner.set_len(len))
    }

    /// Not patient: after a sync that failed, nobody knows which writes are on the disk, and a second sync would not say so. (A
    /// file system that promises no room at the write tells so here; the usual ones do.)
    fn sync_data(&self) -> Result<(), io::Error> {
        self.check()?;
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check()?;
        let bytes = data.len() as u64;
        self.room.writes(offset, bytes);
        self.patiently(|| self.inner.write(offset, data))?;
        self.room.wrote(offset, bytes);
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use twin_faulty_disk::FaultyDisk;

    use super::*;

    /// There is room again at the third look.
    #[derive(Debug)]
    struct Third {
        disk: FaultyDisk,
        looks: Arc<AtomicU32>,
        written: Arc<AtomicU64>,
        patient: bool,
    }

    impl Room for Third {
        fn wait(&self) -> bool {
            if self.looks.fetch_add(1, Ordering::Relaxed) == 2 {
                self.disk.leave_room(None);
            }
            self.patient
        }

        fn went_through(&self) {}

        fn wrote(&self, _: u64, bytes: u64) {
            self.written.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn file(patient: bool) -> (WaitingFile<Third>, Arc<AtomicU32>, Arc<AtomicU64>) {
        let disk = FaultyDisk::new();
        let (inner, _) = disk.open("file").unwrap();
        inner.set_len(1 << 20).unwrap();
        disk.leave_room(Some(0));
        let (looks, written) = (Arc::<AtomicU32>::default(), Arc::<AtomicU64>::default());
        let room = Third { disk, looks: Arc::clone(&looks), written: Arc::clone(&written), patient };
        (WaitingFile::new(inner, room), looks, written)
    }

    #[test]
    fn a_write_waits_for_room_and_is_counted_once() {
        let (file, looks, written) = file(true);
        file.write(4096, &[7; 100]).unwrap();
        let mut out = [0; 100];
        file.read(4096, &mut out).unwrap();
        assert_eq!((out, looks.load(Ordering::Relaxed), written.load(Ordering::Relaxed)), ([7; 100], 3, 100));
    }

    #[test]
    fn where_nobody_waits_the_error_is_told() {
        let (file, looks, written) = file(false);
        assert_eq!(file.write(0, &[7; 100]).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((looks.load(Ordering::Relaxed), written.load(Ordering::Relaxed)), (1, 0));
    }
}
