//! Where the two files come from: the seam at which a simulation puts a disk that fails.

use std::fmt::Debug;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::failure::DataFile;

/// Hands out the backends of a node's files.
pub trait Disk: Debug + Send + Sync {
    /// Opens or makes the file. Called once per file and open storage.
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>>;

    /// What to call the file in messages.
    fn path(&self, file: DataFile) -> PathBuf;
}

/// Files in a directory of a real disk.
#[derive(Debug)]
pub struct DirectoryDisk {
    directory: PathBuf,
}

impl DirectoryDisk {
    /// Files in `directory`, which is made (for the owner only) by the first open.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_path_buf() }
    }

    fn make_directory(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)
    }
}

impl Disk for DirectoryDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        self.make_directory()?;
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(self.path(file))?;
        let backend = FileBackend::new(file).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) => error,
            other => io::Error::other(other),
        })?;
        Ok(Box::new(backend))
    }

    fn path(&self, file: DataFile) -> PathBuf {
        self.directory.join(file.file_name())
    }
}

/// redb wants a sized backend.
#[derive(Debug)]
pub(crate) struct BoxedBackend(pub(crate) Box<dyn StorageBackend>);

impl StorageBackend for BoxedBackend {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.0.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.query_lock_range(start, end)
    }
}
