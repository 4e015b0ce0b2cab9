//! A data directory made of a backup: the same twins, sites and gateways in a new lineage.
//!
//! **What becomes of the node's identity.** The directory gets an admin token of its own, which takes the place of the backup's first
//! one, and an id at its first start: neither is in a backup. Other tokens work as before. The CA is in it (unless it was left out),
//! because gateways trust nobody else. What the new lineage means is in [`twin_cluster::recovery`].
//!
//! **Invariant:** no node starts on a directory whose restore did not end. A mark is made in it first and removed last, and
//! [`crate::identity`] looks for it.

use std::fs;
use std::io::{self, BufReader, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use twin_backup::{Frame, Manifest, ReadError, Reader};
use twin_cluster::recovery::{Recovery, RecoveryError};
use twin_cluster::{DIRECTORY, FIRST_CELL};
use twin_core::numbers::CellId;
use twin_small_file::open_regular;
use twin_storage::{
    BackupError, BackupRow, FORMAT_VERSION, Options, RestoreError as StorageError, Restorer, SealOptions, StateKey,
    read_rows,
};
use twin_transports::tls::{CA_FILE, CA_KEY_FILE};

use crate::identity::RESTORE_MARK;
use crate::token::{TOKEN_FILE, TokenError, TokenFile};

/// Bytes of the salt of a sealed backup.
pub(crate) const SALT_BYTES: usize = 32;
/// What its key is derived for.
pub(crate) const SEAL_PURPOSE: &str = "backup";
/// Bytes of the backup that are read at a time.
const READ_BYTES: usize = 256 * 1024;

/// What to restore, and where.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The backup's file.
    pub from: PathBuf,
    /// The node's data directory: empty, or made.
    pub data_dir: PathBuf,
    /// The lineage of what is restored; `None`: that which follows the backup's. Must be above every one that gateways have met.
    pub lineage: Option<u64>,
    /// Opens a sealed backup, and seals what is restored if that is wanted.
    pub key: Option<StateKey>,
    /// Seal what is restored, which needs a key. What was sealed in the backup is sealed whatever stands here.
    pub encrypt_state: bool,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Whose backup it was, and when it was taken.
    pub manifest: Manifest,
    /// Its lineage now.
    pub lineage: u64,
    /// Rows that were read; some come twice.
    pub rows: u64,
    /// What is on the disk now is sealed.
    pub sealed: bool,
}

/// Why there is nothing restored. What was written is removed again.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup itself.
    #[error("the backup {path} cannot be restored: {cause}")]
    Backup {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        cause: ReadError,
    },
    /// Rows of a newer release.
    #[error(
        "the backup {path} was taken by release {release}, whose rows have format {found}; this release reads up to {FORMAT_VERSION}: \
         restore with that release"
    )]
    Newer {
        /// Its file.
        path: PathBuf,
        /// Who wrote it.
        release: String,
        /// Format of the rows.
        found: u32,
    },
    /// Sealed, and no key.
    #[error(
        "the backup {path} is sealed: give the key of the node that it was taken of, as to that node (--state-key-file, \
         TWIND_STATE_KEY, or the credential state.key)"
    )]
    Sealed {
        /// Its file.
        path: PathBuf,
    },
    /// There is something already.
    #[error(
        "{path} is not empty ({present} is there): a backup is restored into an empty directory, so that nothing is lost by mistake; give \
         another one, or move away what is there"
    )]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        present: String,
    },
    /// A file.
    #[error("cannot write {path}: {cause}; make room or mend that, or give another directory, and restore again")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The data files.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Rows that are none.
    #[error(transparent)]
    Rows(#[from] BackupError),
    /// Rows that cannot be raised, or a lineage that cannot follow.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The frames make no node.
    #[error("the backup is not of a whole node: {0}; take another one")]
    Incomplete(String),
}

/// Restores a backup. Blocks. `progress` is told how many rows were read, now and then.
pub fn restore(options: &RestoreOptions, mut progress: impl FnMut(&Manifest, u64)) -> Result<Restored, RestoreError> {
    let unreadable = |cause| RestoreError::Backup { path: options.from.clone(), cause };
    let open = || {
        // Read twice, which a pipe cannot be.
        let file = open_regular(&options.from).map_err(|error| unreadable(io::Error::from(error).into()))?;
        Reader::begin(BufReader::with_capacity(READ_BYTES, file)).map_err(unreadable)
    };
    // To its end before anything is made of it: what a damaged backup says is worth nothing, not even as an error.
    let (mut reader, _) = open()?;
    while reader.next_frame().map_err(unreadable)?.is_some() {}
    let (mut reader, manifest) = open()?;
    if manifest.storage_format > FORMAT_VERSION {
        let (path, release) = (options.from.clone(), manifest.release);
        return Err(RestoreError::Newer { path, release, found: manifest.storage_format });
    }
    if let Some(salt) = &manifest.sealed {
        let key = options.key.as_ref().ok_or_else(|| RestoreError::Sealed { path: options.from.clone() })?;
        let salt = unhex(salt).ok_or_else(|| unreadable(ReadError::Damaged("its salt is none".to_owned())))?;
        reader.unseal(&key.derived(&salt, SEAL_PURPOSE));
    }
    let lineage = options.lineage.unwrap_or_else(|| Recovery::next_lineage(manifest.lineage));
    let recovery = Recovery::new(manifest.lineage, lineage)?;
    let mut directory = Directory::claim(&options.data_dir)?;
    // Never in clear by what somebody forgot to say.
    let key = options.key.clone().filter(|_| options.encrypt_state || manifest.sealed.is_some());
    let sealed = key.is_some();
    let mut node = NewNode::begin(&mut directory, recovery, key)?;
    let mut rows = 0;
    while let Some(frame) = reader.next_frame().map_err(unreadable)? {
        rows += node.take(frame)?;
        progress(&manifest, rows);
    }
    node.finish()?;
    directory.make_token()?;
    directory.keep()?;
    Ok(Restored { manifest, lineage, rows, sealed })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 2 * SALT_BYTES || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..SALT_BYTES).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect()
}

/// The directory under way. Dropped before [`Directory::keep`], it is empty again, or gone.
struct Directory {
    path: PathBuf,
    made: Vec<PathBuf>,
    /// It was not there: neither is it when there is nothing to be put into it.
    is_new: bool,
}

impl Directory {
    fn claim(path: &Path) -> Result<Self, RestoreError> {
        let failed = |cause| RestoreError::Io { path: path.to_owned(), cause };
        let is_new = !path.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
        for entry in fs::read_dir(path).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            // What a fresh disk has.
            if name != "lost+found" {
                let mut present = name.to_string_lossy().into_owned();
                if path.join(RESTORE_MARK).exists() {
                    present = format!("{RESTORE_MARK}, of a restore that was cut short: what it left may go,");
                }
                return Err(RestoreError::NotEmpty { path: path.to_owned(), present });
            }
        }
        let mut directory = Self { path: path.to_owned(), made: Vec::new(), is_new };
        directory.write(
            RESTORE_MARK,
            0o600,
            b"A backup is being restored into this directory, or that was cut short.\n",
        )?;
        directory.sync()?;
        Ok(directory)
    }

    fn write(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<(), RestoreError> {
        let path = self.path.join(name);
        let mut write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&path)?;
            self.made.push(path.clone());
            file.write_all(content)?;
            file.sync_all()
        };
        write().map_err(|cause| RestoreError::Io { path: path.clone(), cause })
    }

    /// The backup's tokens may all be lost: whoever restores it has one, as whoever starts a new node.
    fn make_token(&mut self) -> Result<(), RestoreError> {
        self.made.push(self.path.join(TOKEN_FILE));
        TokenFile::create(&self.path)?;
        Ok(())
    }

    fn sync(&self) -> Result<(), RestoreError> {
        let synced = fs::File::open(&self.path).and_then(|directory| directory.sync_all());
        synced.map_err(|cause| RestoreError::Io { path: self.path.clone(), cause })
    }

    /// All is written: the mark goes, for good.
    fn keep(mut self) -> Result<(), RestoreError> {
        self.sync()?;
        let mark = self.path.join(RESTORE_MARK);
        fs::remove_file(&mark).map_err(|cause| RestoreError::Io { path: mark, cause })?;
        self.made.clear();
        self.is_new = false;
        self.sync()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The mark was made first, so it goes last: what cannot be removed is never taken for a node.
        for path in self.made.drain(..).rev() {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "what was restored is of no use and cannot be removed");
                return;
            }
        }
        if self.is_new {
            // What is in it now is not ours, and keeps it.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The node's files, frame by frame.
struct NewNode<'a> {
    directory: &'a mut Directory,
    restorer: Restorer,
    recovery: Recovery,
    /// Under way.
    group: Option<CellId>,
    ended: Vec<CellId>,
}

impl<'a> NewNode<'a> {
    /// Sealed where there is a key.
    fn begin(directory: &'a mut Directory, recovery: Recovery, key: Option<StateKey>) -> Result<Self, RestoreError> {
        let mut options = Options::in_directory(&directory.path);
        options.seal = key.map(|key| SealOptions { key, random: Arc::new(ring::rand::SystemRandom::new()) });
        for file in [twin_storage::DataFile::Log, twin_storage::DataFile::State] {
            directory.made.push(directory.path.join(file.file_name()));
            // Its first name, while it is made.
            directory.made.push(directory.path.join(format!("{}.new", file.file_name())));
        }
        Ok(Self { restorer: Restorer::create(options)?, directory, recovery, group: None, ended: Vec::new() })
    }

    /// How many rows there were in it.
    fn take(&mut self, frame: Frame) -> Result<u64, RestoreError> {
        let incomplete = |what: &str| Err(RestoreError::Incomplete(what.to_owned()));
        match frame {
            // Opened, or never come to.
            Frame::Sealed { .. } => return incomplete("it is sealed"),
            Frame::File { name, content } => {
                if name != CA_FILE && name != CA_KEY_FILE {
                    return incomplete(&format!("it holds a file {name}, which no node has"));
                }
                let mode = if name == CA_KEY_FILE { 0o600 } else { 0o644 };
                self.directory.write(&name, mode, &content)?;
            }
            Frame::Group(group) => {
                if self.group.replace(CellId::new(group)).is_some() {
                    return incomplete("a group begins within another");
                }
            }
            Frame::Rows { count, bytes } => {
                let Some(group) = self.group else { return incomplete("there are rows of no group") };
                let rows = read_rows(bytes.into())?;
                if rows.len() != count as usize {
                    return incomplete("rows are missing");
                }
                let raised: Result<Vec<_>, RestoreError> = rows.into_iter().map(|row| self.raise(row)).collect();
                self.restorer.put(group, raised?)?;
                return Ok(u64::from(count));
            }
            Frame::GroupEnd { group, covered } => {
                let group = CellId::new(group);
                if self.group.take() != Some(group) {
                    return incomplete("a group ends that did not begin");
                }
                if group == FIRST_CELL {
                    let floors = self.recovery.missing_floors();
                    let rows = floors.map(|(family, key, value)| BackupRow { family, key, value: Some(value) });
                    self.restorer.put(group, rows.collect())?;
                }
                self.restorer.end_group(group, &Bytes::from(covered))?;
                self.ended.push(group);
            }
        }
        Ok(0)
    }

    fn raise(&mut self, row: BackupRow) -> Result<BackupRow, RestoreError> {
        let BackupRow { family, key, value } = row;
        let value = value.map(|value| self.recovery.row(family, &key, value)).transpose()?;
        Ok(BackupRow { family, key, value })
    }

    fn finish(self) -> Result<(), RestoreError> {
        for (group, name) in [(DIRECTORY, "the directory"), (FIRST_CELL, "the cell")] {
            if !self.ended.contains(&group) {
                return Err(RestoreError::Incomplete(format!("{name} is not in it")));
            }
        }
        Ok(self.restorer.finish()?)
    }
}
