//! Where the outbox file comes from: the seam at which a test puts a disk that fails.

use std::fmt::Debug;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use redb::StorageBackend;
use redb::backends::FileBackend;

/// Name of the file in the state directory.
pub const OUTBOX_FILE: &str = "outbox.redb";
/// Name under which it is made.
pub(crate) const OUTBOX_FILE_NEW: &str = "outbox.redb.new";

/// Hands out the outbox file.
pub trait OutboxDisk: Debug + Send + Sync {
    /// Makes the folder, if there is one to make.
    fn prepare(&self) -> io::Result<()> {
        Ok(())
    }

    /// Opens the file, or an empty one that is not in its place yet (`true`). `WouldBlock`: another gateway has it.
    fn open(&self) -> io::Result<(Box<dyn StorageBackend>, bool)>;

    /// Puts the file that was opened empty in its place, for good. Called when it is complete and durable, so that what is in its
    /// place is always complete: a crash before leaves no file, and the next start begins anew.
    fn put_in_place(&self) -> io::Result<()>;

    /// What to call the file in messages.
    fn path(&self) -> PathBuf;
}

/// The file in a folder of a real disk.
#[derive(Debug)]
pub struct DirectoryDisk {
    directory: PathBuf,
}

impl DirectoryDisk {
    /// In this folder, which is made (for the owner only) if it is missing.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    fn new_path(&self) -> PathBuf {
        self.directory.join(OUTBOX_FILE_NEW)
    }
}

fn open_private(path: &Path, create: bool) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    // A pipe would be waited for, and taken for an outbox that is empty.
    twin_small_file::check_regular(&file)?;
    Ok(file)
}

fn backend(file: File) -> io::Result<Box<dyn StorageBackend>> {
    match FileBackend::new(file) {
        Ok(backend) => Ok(Box::new(backend)),
        Err(redb::DatabaseError::Storage(redb::StorageError::Io(error))) => Err(error),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(io::ErrorKind::WouldBlock.into()),
        Err(other) => Err(io::Error::other(other)),
    }
}

impl OutboxDisk for DirectoryDisk {
    fn prepare(&self) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&self.directory)
    }

    /// **Invariant:** a file is put in its place only when it is complete and durable, so what a first start that was cut short
    /// left under its first name is emptied here and made anew.
    fn open(&self) -> io::Result<(Box<dyn StorageBackend>, bool)> {
        match open_private(&self.path(), false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return Ok((backend(opened?)?, false)),
        }
        let file = open_private(&self.new_path(), true)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            // Where there are no locks redb does without them, too.
            Err(TryLockError::Error(_)) | Ok(()) => {}
        }
        // Under the lock: another gateway may have put this very file in its place since it was opened.
        if self.path().exists() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        file.set_len(0)?;
        Ok((backend(file)?, true))
    }

    fn put_in_place(&self) -> io::Result<()> {
        std::fs::rename(self.new_path(), self.path())?;
        // The rename itself is durable only with its folder.
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self) -> PathBuf {
        self.directory.join(OUTBOX_FILE)
    }
}
