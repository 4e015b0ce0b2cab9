//! The disk, and its files as redb sees them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use redb::StorageBackend;

use crate::content::PAGE_BYTES;
use crate::fate::{Chance, Fate};
use crate::file::{FaultyFile, Unsynced};

#[derive(Default)]
struct Inner {
    files: BTreeMap<String, FaultyFile>,
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
#[derive(Clone, Default)]
pub struct FaultyDisk(Arc<Mutex<Inner>>);

impl std::fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FaultyDisk")
    }
}

fn no_power() -> io::Error {
    io::Error::other("there is no power")
}

fn no_file() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FaultyDisk {
    /// An empty one, with power, room and speed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The file with this name; an empty one that is not in its place yet (`true`) if there is none.
    pub fn open(&self, name: &str) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        let mut inner = self.0.lock();
        if inner.off {
            return Err(no_power());
        }
        let file = inner.files.entry(name.to_owned()).or_default();
        let is_new = !file.in_place;
        if is_new {
            *file = FaultyFile::default();
        }
        Ok((Box::new(OpenFile { disk: self.clone(), name: name.to_owned(), allocates: false }), is_new))
    }

    /// The same of a file that takes its room on the disk when its length is set, not when it is written.
    pub fn open_allocated(&self, name: &str) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        let (_, is_new) = self.open(name)?;
        Ok((Box::new(OpenFile { disk: self.clone(), name: name.to_owned(), allocates: true }), is_new))
    }

    /// Puts a file that was opened empty in its place, for good: until then a power cut leaves nothing of it.
    pub fn put_in_place(&self, name: &str) -> io::Result<()> {
        self.call(name, |_| 0, None, |file| file.in_place = true)
    }

    /// What can still be written; `None`: there is no end of it.
    pub fn free_bytes(&self) -> Option<u64> {
        self.0.lock().free_pages.map(|pages| pages * PAGE_BYTES as u64)
    }

    /// Writes, syncs, changes of length and files put in place, since the disk was made or the power came back.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// The power goes at the call with this number, from 0; the call itself is not carried out, but a write may be torn.
    pub fn cut_at(&self, call: u64, fate: Fate, seed: u64) {
        self.0.lock().cut = Some((call, fate, Chance(seed)));
    }

    /// Did the power go?
    pub fn is_off(&self) -> bool {
        self.0.lock().off
    }

    /// The power is back: what was synced is there, and what fate kept. (If it never went, it goes now, and everything is kept.)
    pub fn power_on(&self) {
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
    pub fn leave_room(&self, bytes: Option<u64>) {
        self.0.lock().free_pages = bytes.map(|bytes| bytes / PAGE_BYTES as u64);
    }

    /// Each write and sync takes this long from now on.
    pub fn be_slow(&self, slow: Duration) {
        self.0.lock().slow = slow;
    }

    fn with<T>(&self, name: &str, work: impl FnOnce(&FaultyFile) -> T) -> io::Result<T> {
        let inner = self.0.lock();
        if inner.off { Err(no_power()) } else { inner.files.get(name).map(work).ok_or_else(no_file) }
    }

    /// One of the calls at which the power may go. `pages` is what it takes of the room.
    fn call(
        &self,
        name: &str,
        pages: impl FnOnce(&FaultyFile) -> u64,
        unsynced: Option<Unsynced>,
        work: impl FnOnce(&mut FaultyFile),
    ) -> io::Result<()> {
        let slow = self.0.lock().slow;
        if !slow.is_zero() {
            std::thread::sleep(slow);
        }
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        if inner.off {
            return Err(no_power());
        }
        let call = inner.calls;
        inner.calls += 1;
        let file = inner.files.get_mut(name).ok_or_else(no_file)?;
        if inner.cut.as_ref().is_some_and(|(cut, ..)| *cut == call) {
            // What was under way may be on the disk in part, or wholly.
            file.unsynced.extend(unsynced);
            inner.go_off();
            return Err(no_power());
        }
        let wanted = pages(file);
        if let Some(free) = &mut inner.free_pages {
            if wanted > *free {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *free -= wanted;
        }
        file.unsynced.extend(unsynced);
        work(file);
        Ok(())
    }
}

impl Inner {
    fn go_off(&mut self) {
        self.off = true;
        if let Some((_, fate, chance)) = &mut self.cut {
            for file in self.files.values_mut() {
                file.cut(*fate, chance);
            }
        }
    }
}

#[derive(Debug)]
struct OpenFile {
    disk: FaultyDisk,
    name: String,
    allocates: bool,
}

impl StorageBackend for OpenFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.disk.with(&self.name, |file| file.now.len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.disk.with(&self.name, |file| {
            if offset + out.len() as u64 > file.now.len {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            file.now.read(offset, out);
            Ok(())
        })?
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        if self.allocates {
            let pages = |file: &FaultyFile| file.now.missing(0, len as usize);
            let change = Some(Unsynced::Allocated(len));
            return self.disk.call(&self.name, pages, change, |file| file.now.allocate(len));
        }
        self.disk.call(&self.name, |_| 0, Some(Unsynced::Len(len)), |file| file.now.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let work = |file: &mut FaultyFile| {
            for change in std::mem::take(&mut file.unsynced) {
                change.put(&mut file.durable);
            }
        };
        self.disk.call(&self.name, |_| 0, None, work)
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let change = Unsynced::Write { offset, data: data.into() };
        let pages = |file: &FaultyFile| file.now.missing(offset, data.len());
        self.disk.call(&self.name, pages, Some(change), |file| file.now.write(offset, data))
    }
}
