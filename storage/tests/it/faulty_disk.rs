//! The faulty disk as the storage's.

use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};

pub(crate) use twin_faulty_disk::{Chance, Fate};
use twin_storage::redb::StorageBackend;
use twin_storage::{DataFile, Disk};

/// A disk in memory that can lose power, run full and be slow. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct FaultyDisk(twin_faulty_disk::FaultyDisk);

impl FaultyDisk {
    pub(crate) fn new() -> Self {
        Self(twin_faulty_disk::FaultyDisk::new())
    }
}

impl Deref for FaultyDisk {
    type Target = twin_faulty_disk::FaultyDisk;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Disk for FaultyDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        let opened = match file {
            DataFile::Journal => self.0.open_allocated(file.file_name()),
            DataFile::Log | DataFile::State => self.0.open(file.file_name()),
        };
        opened.map(|(backend, _)| backend)
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        self.0.put_in_place(file.file_name())
    }

    fn path(&self, file: DataFile) -> PathBuf {
        Path::new("/faulty").join(file.file_name())
    }

    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(self.0.free_bytes())
    }
}
