//! A storage that failed once never acks again.

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::sync::watch;

/// What is left to an operator where a file is damaged or lost.
pub const RESTORE_A_BACKUP: &str =
    "restore a backup into an empty directory with `twind restore --from FILE --data-dir DIR`";

/// One of the files of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DataFile {
    /// `log.redb`: whose log it is, how it is sealed, and where it begins.
    Log,
    /// `log.journal`: the log itself. Entries, votes and committed ids of all groups.
    Journal,
    /// `state.redb`: rows of all groups as of their last checkpoint.
    State,
}

impl DataFile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Log, Self::Journal, Self::State];

    /// Its name within the data directory.
    pub const fn file_name(self) -> &'static str {
        match self {
            Self::Log => "log.redb",
            Self::Journal => "log.journal",
            Self::State => "state.redb",
        }
    }
}

impl fmt::Display for DataFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// Why a node's storage stopped for good.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{file} failed: {cause}; nothing is acked from here on, {}", self.way_out())]
pub struct StorageFailure {
    /// The file.
    pub file: DataFile,
    /// What the disk or the file format said.
    pub cause: String,
    /// What is in the file is not what was written: no other disk mends that.
    pub damaged: bool,
    /// The disk had no room, and nobody waited for it any more, as while a node stops.
    pub no_room: bool,
}

impl StorageFailure {
    fn way_out(&self) -> &'static str {
        if self.damaged {
            RESTORE_A_BACKUP
        } else if self.no_room {
            "make room on its disk and start the node again"
        } else {
            "mend the disk and start the node again"
        }
    }
}

impl From<StorageFailure> for std::io::Error {
    fn from(failure: StorageFailure) -> Self {
        Self::other(failure)
    }
}

/// Did the disk have no room?
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Set once, by the thread that met the error; seen by everyone.
#[derive(Clone, Debug)]
pub(crate) struct FailureFlag(Arc<watch::Sender<Option<StorageFailure>>>);

impl FailureFlag {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// As [`Self::set`], with what redb said of the file.
    pub(crate) fn set_error(&self, file: DataFile, error: &redb::Error) -> StorageFailure {
        // What leads behind the end of the file was never written there.
        let damaged = match error {
            redb::Error::Corrupted(_) => true,
            redb::Error::Io(error) => error.kind() == io::ErrorKind::UnexpectedEof,
            _ => false,
        };
        let no_room = matches!(error, redb::Error::Io(error) if is_no_room(error));
        self.fail(StorageFailure { file, cause: error.to_string(), damaged, no_room })
    }

    /// As [`Self::set`], with what the system said of the file.
    pub(crate) fn set_io(&self, file: DataFile, error: &io::Error) -> StorageFailure {
        let damaged = error.kind() == io::ErrorKind::InvalidData;
        self.fail(StorageFailure { file, cause: error.to_string(), damaged, no_room: is_no_room(error) })
    }

    /// The first failure stays: it is the cause, later ones are its echoes.
    pub(crate) fn set(&self, file: DataFile, cause: String) -> StorageFailure {
        self.fail(StorageFailure { file, cause, damaged: false, no_room: false })
    }

    fn fail(&self, failure: StorageFailure) -> StorageFailure {
        let is_first = self.0.send_if_modified(|current| {
            let first = current.is_none();
            if first {
                *current = Some(failure.clone());
            }
            first
        });
        if is_first {
            tracing::error!(%failure, "storage failed");
        } else {
            tracing::debug!(%failure, "storage failed before");
        }
        failure
    }

    pub(crate) fn get(&self) -> Option<StorageFailure> {
        self.0.borrow().clone()
    }

    pub(crate) fn check(&self) -> Result<(), StorageFailure> {
        self.get().map_or(Ok(()), Err)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<StorageFailure>> {
        self.0.subscribe()
    }
}
