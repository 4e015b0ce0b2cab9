//! Why a storage is not opened: what was found, where, and what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use twin_core::numbers::CellId;

use crate::failure::{DataFile, RESTORE_A_BACKUP, is_no_room};

/// Why a storage could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Directory or file could not be made or read.
    #[error("cannot open {path}: {cause}; check that the data directory exists, is writable by this user and has room")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The disk has no room for what a start writes.
    #[error(
        "the disk of {path} is full: {} bytes are free, and with less than {needed_bytes} a node takes no writes; make room on it, and start \
         again{}", free_bytes.map_or_else(|| "too few".to_owned(), |bytes| bytes.to_string()), elsewhere(*is_first)
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// What is free, if the disk tells.
        free_bytes: Option<u64>,
        /// With so much it starts.
        needed_bytes: u64,
        /// There is nothing of a node yet that would have to stay where it is.
        is_first: bool,
    },
    /// Another process holds the file.
    #[error("{path} is in use by another process: stop the other node, or give this one its own data directory")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Not a file of ours.
    #[error(
        "{path} is not a file of this program ({cause}): give the node another data directory, or move the file away"
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// How we know.
        cause: String,
    },
    /// Written by a newer release.
    #[error("{path} has format version {found}, this release reads up to {reads}: start the release that wrote it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that is read.
        reads: u32,
    },
    /// Written by a release that kept its log in another way.
    #[error(
        "{path} has format version {found}, whose log this release does not read: start the release that wrote it, take a backup with \
         `twinctl backup`, and restore that with `twind restore` into an empty directory"
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Ours, but broken.
    #[error("{path} is damaged ({cause}): {RESTORE_A_BACKUP}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is broken.
        cause: String,
    },
    /// The state was lost or rolled back: the log has already let go of entries that it lacks.
    #[error(
        "{path} does not belong to the log beside it: group {group} is purged up to {purged} but its checkpoint is at \
         {checkpoint:?}: put all files of one moment here, or {RESTORE_A_BACKUP}"
    )]
    StateBehind {
        /// The state file.
        path: PathBuf,
        /// The group.
        group: CellId,
        /// Index up to which the log is purged.
        purged: u64,
        /// Index of the checkpoint.
        checkpoint: Option<u64>,
    },
    /// The log was lost or rolled back, and the votes with it.
    #[error(
        "{path} does not belong to the state beside it: it knows nothing of group {group}, not even its vote: put \
         all files of one moment here, or {RESTORE_A_BACKUP}"
    )]
    LogLost {
        /// The log file.
        path: PathBuf,
        /// The group.
        group: CellId,
    },
    /// The journal was rolled back, or its end was lost.
    #[error(
        "{path} ends with frame {found}, but {state} says that frame {durable} was on the disk: it is an older copy of the log, or its end \
         was overwritten, and what was acknowledged last is not in it; put the newest copy in its place, or {RESTORE_A_BACKUP}"
    )]
    LogBehind {
        /// The journal.
        path: PathBuf,
        /// The state file.
        state: PathBuf,
        /// Number of the last frame that is there.
        found: u64,
        /// Number of a frame that was durable when the last checkpoint was written.
        durable: u64,
    },
    /// One of the two files of the log was lost.
    #[error(
        "{lost} is {how}, but {left} is there, and neither makes sense without the other: put all files of one moment here, or \
         {RESTORE_A_BACKUP}"
    )]
    Lost {
        /// The file.
        lost: PathBuf,
        /// What became of it.
        how: Lost,
        /// The one that is.
        left: PathBuf,
    },
    /// The files of two nodes.
    #[error(
        "{path} is of node {node}, but {other} is of node {other_node}: neither makes sense without its own other ones; put the files of \
         one node here, or {RESTORE_A_BACKUP}"
    )]
    Strangers {
        /// One file.
        path: PathBuf,
        /// Whose it is.
        node: String,
        /// Another one.
        other: PathBuf,
        /// Whose that is.
        other_node: String,
    },
    /// A file of another node than the directory's.
    #[error(
        "{path} is of node {found}, but this directory is that of node {expected}: put that node's own files here; if this node is to go \
         on with the other one's files, put that one's node.json here as well"
    )]
    OtherNode {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose the directory is.
        expected: String,
    },
    /// Sealed, and no key.
    #[error(
        "{path} is sealed: start with --encrypt-state and the key that it was sealed with; without that key nothing in it can be read"
    )]
    KeyMissing {
        /// The file.
        path: PathBuf,
    },
    /// Sealed with another key.
    #[error(
        "{path} is sealed with another key than the one given: give the one that it was sealed with; there is no way around it"
    )]
    KeyWrong {
        /// The file.
        path: PathBuf,
    },
    /// To be sealed, and it is not.
    #[error(
        "{path} is not sealed, and a directory is sealed from its first start on or not at all: start without --encrypt-state, take a \
         backup with `twinctl backup`, and restore it with `twind restore --encrypt-state` into an empty directory"
    )]
    NotSealed {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("{path}: the system gives no random bytes to seal it with")]
    Entropy {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no thread.
    #[error("cannot start the thread of {file}: {cause}; raise the limit of threads")]
    Thread {
        /// The file that the thread would serve.
        file: DataFile,
        /// What the system said.
        cause: io::Error,
    },
}

/// Where else a node could begin.
fn elsewhere(is_first: bool) -> &'static str {
    if is_first { ", or give a data directory on another disk with --data-dir" } else { "" }
}

impl OpenError {
    /// What redb said of a file: what the disk did to it, or what is wrong with it.
    pub(crate) fn of_redb(path: PathBuf, error: redb::Error) -> Self {
        match error {
            redb::Error::Io(cause) => match cause.kind() {
                // What leads behind the end of the file was never written there.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData => {
                    Self::Damaged { path, cause: cause.to_string() }
                }
                _ => Self::Io { path, cause },
            },
            other => Self::Damaged { path, cause: other.to_string() },
        }
    }

    /// Tells the want of room from whatever else a disk may say. `free_bytes` is asked for then.
    pub(crate) fn or_no_room(
        self,
        free_bytes: impl FnOnce() -> Option<u64>,
        needed_bytes: u64,
        is_first: bool,
    ) -> Self {
        match self {
            Self::Io { path, cause } if is_no_room(&cause) => {
                Self::NoRoom { path, free_bytes: free_bytes(), needed_bytes, is_first }
            }
            other => other,
        }
    }
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is not there.
    Gone,
    /// It has no byte.
    Empty,
    /// It is not the one that was there.
    New,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Empty => "empty",
            Self::New => "a new one",
        })
    }
}
