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
    /// Opens the file, or an empty one that is not in its place yet. Called once per file and open storage. `WouldBlock`:
    /// another process has it.
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>>;

    /// Puts a file that was opened empty in its place, for good. Called when it is complete and durable, so that what is in
    /// its place is always complete: a crash before leaves no file, and the next start begins anew.
    fn put_in_place(&self, file: DataFile) -> io::Result<()>;

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

impl DirectoryDisk {
    /// Where a file is made.
    fn new_path(&self, file: DataFile) -> PathBuf {
        self.directory.join(format!("{}.new", file.file_name()))
    }

    fn backend(path: &Path, create: bool) -> io::Result<FileBackend> {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(create).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        FileBackend::new(options.open(path)?).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) => error,
            other => io::Error::other(other),
        })
    }

    /// Empties what a start that was cut short left under the file's first name.
    ///
    /// **Invariant:** whoever has the lock of an empty file has it under its first name, and there is none in its place. Hence
    /// the look at that place under the lock: another process may have put this very file there since it was opened.
    fn emptied(&self, file: DataFile, backend: &FileBackend) -> io::Result<()> {
        let all = (Bound::Included(0), Bound::Unbounded);
        let locked = match backend.try_lock_range(all.0, all.1) {
            Ok(locked) => locked,
            // Then redb cannot lock either, and does without.
            Err(BackendError::Unsupported) => return backend.set_len(0),
            Err(BackendError::Io(error)) => return Err(error),
            Err(other) => return Err(io::Error::other(other)),
        };
        if !locked || self.path(file).exists() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        backend.set_len(0)?;
        backend.unlock_range(all.0, all.1).map_err(io::Error::other)
    }
}

impl Disk for DirectoryDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        self.make_directory()?;
        match Self::backend(&self.path(file), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map(|backend| Box::new(backend) as _),
        }
        let backend = Self::backend(&self.new_path(file), true)?;
        self.emptied(file, &backend)?;
        Ok(Box::new(backend))
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        match std::fs::rename(self.new_path(file), self.path(file)) {
            // It was empty in its place.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed?,
        }
        std::fs::File::open(&self.directory)?.sync_all()
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
