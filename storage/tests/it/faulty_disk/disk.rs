//! The disk, and its files as redb sees them.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twin_storage::redb::StorageBackend;
use twin_storage::{DataFile, Disk};

use super::content::PAGE_BYTES;
use super::fate::{Chance, Fate};
use super::file::{FaultyFile, Unsynced};

struct Inner {
    files: [FaultyFile; 2],
    /// Writes, syncs, changes of length and files put in place, since the disk was made or the power came back.
    calls: u64,
    /// The call at which the power goes, and what that does.
    cut: Option<(u64, Fate, Chance)>,
    off: bool,
    /// Pages that can still be taken; `None`: no end of them.
    free_pages: Option<u64>,
    slow: Duration,
}

/// The disk. Clones are the same.
#[derive(Clone)]
pub(crate) struct FaultyDisk(Arc<Mutex<Inner>>);

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDisk")
    }
}

fn no_power() -> io::Error {
    io::Error::other("there is no power")
}

impl FaultyDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            files: Default::default(),
            calls: 0,
            cut: None,
            off: false,
            free_pages: None,
            slow: Duration::ZERO,
        })))
    }

    /// The power goes at the call with this number, from 0; the call itself is not carried out, but a write may be torn.
    pub(crate) fn cut_at(&self, call: u64, fate: Fate, seed: u64) {
        self.0.lock().cut = Some((call, fate, Chance(seed)));
    }

    /// Did the power go?
    pub(crate) fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The power is back: what was synced is there, and what fate kept. (If it never went, it goes now, and everything is kept.)
    pub(crate) fn power_on(&self) {
        let mut inner = self.0.lock();
        if !inner.off {
            inner.cut = Some((0, Fate::AllKept, Chance(0)));
            inner.go_off();
        }
        inner.off = false;
        inner.cut = None;
        inner.calls = 0;
    }

    /// Leaves room for this many bytes more; `None`: as many as there are.
    pub(crate) fn leave_room(&self, bytes: Option<u64>) {
        self.0.lock().free_pages = bytes.map(|bytes| bytes / PAGE_BYTES as u64);
    }

    /// Each write and sync takes this long from now on.
    pub(crate) fn be_slow(&self, slow: Duration) {
        self.0.lock().slow = slow;
    }

    fn with<T>(&self, file: DataFile, work: impl FnOnce(&mut FaultyFile) -> T) -> io::Result<T> {
        let mut inner = self.0.lock();
        if inner.off { Err(no_power()) } else { Ok(work(&mut inner.files[at(file)])) }
    }

    /// One of the calls at which the power may go. `pages` is what it takes of the room.
    fn call(
        &self,
        file: DataFile,
        pages: impl FnOnce(&FaultyFile) -> u64,
        unsynced: Option<Unsynced>,
        work: impl FnOnce(&mut FaultyFile),
    ) -> io::Result<()> {
        let slow = self.0.lock().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut inner = self.0.lock();
        if inner.off {
            return Err(no_power());
        }
        let call = inner.calls;
        inner.calls += 1;
        if inner.cut.as_ref().is_some_and(|(cut, ..)| *cut == call) {
            // What was under way may be on the disk in part, or wholly.
            inner.files[at(file)].unsynced.extend(unsynced);
            inner.go_off();
            return Err(no_power());
        }
        let wanted = pages(&inner.files[at(file)]);
        if let Some(free) = &mut inner.free_pages {
            if wanted > *free {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *free -= wanted;
        }
        let file = &mut inner.files[at(file)];
        file.unsynced.extend(unsynced);
        work(file);
        Ok(())
    }
}

impl Inner {
    fn go_off(&mut self) {
        self.off = true;
        if let Some((_, fate, chance)) = &mut self.cut {
            for file in &mut self.files {
                file.cut(*fate, chance);
            }
        }
    }
}

const fn at(file: DataFile) -> usize {
    match file {
        DataFile::Log => 0,
        DataFile::State => 1,
    }
}

impl Disk for FaultyDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        self.with(file, |content| {
            if !content.in_place {
                *content = FaultyFile::default();
            }
        })?;
        Ok(Box::new(OpenFile { disk: self.clone(), file }))
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        self.call(file, |_| 0, None, |file| file.in_place = true)
    }

    fn path(&self, file: DataFile) -> PathBuf {
        PathBuf::from("/faulty").join(file.file_name())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(self.0.lock().free_pages.map(|pages| pages * PAGE_BYTES as u64))
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: FaultyDisk,
    file: DataFile,
}

impl StorageBackend for OpenFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.with(self.file, |file| file.now.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.with(self.file, |file| {
            if offset + out.len() as u64 > file.now.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.now.read(offset, out);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.disk.call(self.file, |_| 0, Some(Unsynced::Len(len)), |file| file.now.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let work = |file: &mut FaultyFile| {
            for change in std::mem::take(&mut file.unsynced) {
                change.put(&mut file.durable);
            }
        };
        self.disk.call(self.file, |_| 0, None, work)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let change = Unsynced::Write { offset, data: data.into() };
        let pages = |file: &FaultyFile| file.now.missing(offset, data.len());
        self.disk.call(self.file, pages, Some(change), |file| file.now.write(offset, data))
    }
}
