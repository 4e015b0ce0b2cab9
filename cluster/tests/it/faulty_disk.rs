//! The faulty disk as a node's, and as a gateway's.

use std::io;
use std::path::{Path, PathBuf};

use twin_faulty_disk::FaultyDisk;
use twin_gateway::{OUTBOX_FILE, OutboxDisk};
use twin_storage::redb::StorageBackend;
use twin_storage::{DataFile, Disk};

/// Of a node.
#[derive(Clone, Debug)]
pub(crate) struct NodeDisk(pub(crate) FaultyDisk);

impl Disk for NodeDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        self.0.open(file.file_name()).map(|(backend, _)| backend)
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        self.0.put_in_place(file.file_name())
    }

    fn path(&self, file: DataFile) -> PathBuf {
        Path::new("/faulty").join(file.file_name())
    }
}

/// Of a gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayDisk(pub(crate) FaultyDisk);

impl OutboxDisk for GatewayDisk {
    fn open(&self) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        self.0.open(OUTBOX_FILE)
    }

    fn put_in_place(&self) -> io::Result<()> {
        self.0.put_in_place(OUTBOX_FILE)
    }

    fn path(&self) -> PathBuf {
        Path::new("/faulty").join(OUTBOX_FILE)
    }
}
