//! The faulty disk as the outbox's.

use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use twin_faulty_disk::FaultyDisk;

use crate::outbox::disk::{OUTBOX_FILE, OutboxDisk};

impl OutboxDisk for FaultyDisk {
    fn open(&self) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        Self::open(self, OUTBOX_FILE)
    }

    fn put_in_place(&self) -> io::Result<()> {
        Self::put_in_place(self, OUTBOX_FILE)
    }

    fn path(&self) -> PathBuf {
        Path::new("/faulty").join(OUTBOX_FILE)
    }
}
