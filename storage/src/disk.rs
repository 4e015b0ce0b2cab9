//! Where the files come from: the seam at which a simulation puts a disk that fails.

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

    /// Bytes that this user can still write to the disk; `None` if that cannot be known.
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }
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
        let file = options.open(path)?;
        // A pipe would be waited for, and a device has no length to tell it from a file that was lost.
        twin_small_file::check_regular(&file)?;
        FileBackend::new(file).map_err(|error| match error {
            redb::DatabaseError::Storage(redb::StorageError::Io(error)) => error,
            other => io::Error::other(other),
        })
    }

    fn of(file: DataFile, path: &Path, backend: FileBackend) -> io::Result<Box<dyn StorageBackend>> {
        if file != DataFile::Journal {
            return Ok(Box::new(backend));
        }
        // A handle of its own: closing it lets go of no lock, as locks belong to handles.
        let handle = std::fs::OpenOptions::new().write(true).open(path)?;
        Ok(Box::new(AllocatedFile { backend, handle }))
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

/// A file that has all its blocks on the disk, so that a write within its length finds room whatever becomes of the disk.
///
/// Where a file system cannot do that (some of networks), or writes nothing over (btrfs, ZFS), such a write may find none.
#[derive(Debug)]
struct AllocatedFile {
    backend: FileBackend,
    handle: std::fs::File,
}

impl AllocatedFile {
    #[cfg(target_os = "linux")]
    fn allocate(&self, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        loop {
            match fallocate(&self.handle, FallocateFlags::empty(), 0, len) {
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                done => return Ok(done?),
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }
}

impl StorageBackend for AllocatedFile {
    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > 0 {
            self.allocate(len)?;
        }
        self.backend.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.backend.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.backend.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.backend.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.backend.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.backend.query_lock_range(start, end)
    }
}

impl Disk for DirectoryDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        self.make_directory()?;
        match Self::backend(&self.path(file), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Self::of(file, &self.path(file), opened?),
        }
        let path = self.new_path(file);
        let backend = Self::backend(&path, true)?;
        self.emptied(file, &backend)?;
        Self::of(file, &path, backend)
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

    #[cfg(unix)]
    fn free_bytes(&self) -> io::Result<Option<u64>> {
        let disk = rustix::fs::statvfs(&self.directory)?;
        // Some file systems (of networks, of programs) do not count. What is kept for the superuser is not ours.
        Ok((disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize)))
    }
}
