//! Opening a file: is it ours, can this release read it, is somebody else in it?

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableError, TableHandle};
use twin_core::numbers::CellId;
use twin_waiting_file::WaitingFile;

use crate::disk::Disk;
use crate::failure::DataFile;
use crate::guard::{OpenDatabase, contradiction, guarded, quietly};
use crate::seal::{self, SealOptions};
use crate::space::{FileRoom, Space};
use crate::stopwatch::Stopwatch;

/// Format of both redb files. Raised with any change of a key or record that an older release cannot read.
pub const FORMAT_VERSION: u32 = 3;
/// From this format on the log is in the journal.
const JOURNAL_SINCE: u32 = 3;

const FORMAT: TableDefinition<'static, &str, u32> = TableDefinition::new("format");
/// Whose file it is. Files of earlier releases have no such table until a node claims them.
const NODE: TableDefinition<'static, &str, &str> = TableDefinition::new("file_of_node");
/// The one row of it.
const NODE_ID: &str = "id";

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
    #[error(
        "{path} is damaged ({cause}): restore the data directory from a backup, or join the node anew with an empty one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is broken.
        cause: String,
    },
    /// The state was lost or rolled back: the log has already let go of entries that it lacks.
    #[error(
        "{path} does not belong to the log beside it: group {group} is purged up to {purged} but its checkpoint is at \
         {checkpoint:?}: restore all files from one backup"
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
        "{path} does not belong to the state beside it: it knows nothing of group {group}, not even its vote: restore \
         all files from one backup, or join the node anew with an empty data directory"
    )]
    LogLost {
        /// The log file.
        path: PathBuf,
        /// The group.
        group: CellId,
    },
    /// The journal was rolled back, or its end was lost.
    #[error(
        "{path} ends with frame {found}, but {state} says that frame {durable} was on the disk: it is an older copy of the log, or its end          was overwritten, and what was acknowledged last is not in it; put the newest copy in its place, or restore a backup into an empty          directory with `twind restore --from FILE --data-dir DIR`"
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
        "{lost} is {how}, but {left} is there, and neither makes sense without the other: restore all files from one backup, or join the \
         node anew with an empty data directory"
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
         one node here, or restore all of them from one backup"
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

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It is not there.
    Gone,
    /// It has no byte.
    Empty,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gone => "gone",
            Self::Empty => "empty",
        })
    }
}

fn kind(file: DataFile) -> &'static str {
    match file {
        DataFile::Log => "twinmesh-log",
        DataFile::Journal => "twinmesh-journal",
        DataFile::State => "twinmesh-state",
    }
}

/// How a file was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// How long it took.
    pub took: Duration,
    /// Whether all of it had to be read, because its last commit left no account of its pages.
    pub walked: bool,
}

/// Opens `file`, or makes it with the tables that `make_tables` opens.
pub(crate) fn open_file(
    disk: &dyn Disk,
    space: &Arc<Space>,
    file: DataFile,
    cache_bytes: usize,
    seal: Option<&SealOptions>,
    make_tables: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(OpenDatabase, Opening), OpenError> {
    let watch = Stopwatch::start();
    let path = disk.path(file);
    let walked = Arc::new(AtomicBool::new(false));
    let backend = disk.open(file).map_err(|cause| match cause.kind() {
        io::ErrorKind::WouldBlock => OpenError::InUse { path: path.clone() },
        _ => OpenError::Io { path: path.clone(), cause },
    })?;
    // redb checks its own structures with assertions: on a damaged file they become an error, not a crash.
    let opened = quietly(|| {
        let noted = Arc::clone(&walked);
        let room = FileRoom::new(file, Arc::clone(space));
        let over = room.over();
        let database = redb::Builder::new()
            .set_cache_size(cache_bytes)
            .set_repair_callback(move |_| noted.store(true, Ordering::Relaxed))
            .create_with_backend(WaitingFile::new(backend, room))
            .map_err(|error| refused(path.clone(), error))?;
        let mut database = OpenDatabase::new(file, database, over);
        if check_format(&database, file, path.clone(), seal, make_tables)? == Found::Nothing {
            disk.put_in_place(file).map_err(|cause| OpenError::Io { path: path.clone(), cause })?;
        } else if file == DataFile::Log {
            // Small, and read now or never: all of its pages, with their sums.
            database.check_integrity().map_err(|error| refused(path.clone(), error))?;
        }
        Ok((database, Opening { took: watch.elapsed(), walked: walked.load(Ordering::Relaxed) }))
    });
    opened.unwrap_or_else(|panic| Err(OpenError::Damaged { path, cause: contradiction(&*panic).to_string() }))
}

fn refused(path: PathBuf, error: DatabaseError) -> OpenError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path },
        DatabaseError::UpgradeRequired(version) => {
            OpenError::Foreign { path, cause: format!("a redb file of the old version {version}") }
        }
        DatabaseError::Storage(redb::StorageError::Io(cause)) => match cause.kind() {
            io::ErrorKind::InvalidData => OpenError::Foreign { path, cause: cause.to_string() },
            io::ErrorKind::UnexpectedEof => OpenError::Damaged { path, cause: format!("it is cut short: {cause}") },
            _ => OpenError::Io { path, cause },
        },
        other => OpenError::Damaged { path, cause: other.to_string() },
    }
}

/// Whose file it is; `None`: nobody has claimed it.
pub(crate) fn node_of(database: &Database) -> Result<Option<String>, redb::Error> {
    guarded(|| {
        let read = database.begin_read()?;
        match read.open_table(NODE) {
            Ok(table) => Ok(table.get(NODE_ID)?.map(|row| row.value().to_owned())),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    })
}

/// Writes into the file whose it is.
pub(crate) fn claim(database: &Database, node: &str) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(NODE)?.insert(NODE_ID, node)?;
    write.commit()?;
    Ok(())
}

/// What a file held.
#[derive(PartialEq, Eq)]
enum Found {
    /// It was new: the tables were made now, durably.
    Nothing,
    Tables,
}

fn check_format(
    database: &Database,
    file: DataFile,
    path: PathBuf,
    seal: Option<&SealOptions>,
    make_tables: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<Found, OpenError> {
    let damaged = |error: redb::Error| OpenError::Damaged { path: path.clone(), cause: error.to_string() };
    let read = database.begin_read().map_err(|e| damaged(e.into()))?;
    let tables: Vec<String> =
        read.list_tables().map_err(|e| damaged(e.into()))?.map(|table| table.name().to_owned()).collect();
    if tables.is_empty() {
        return make(database, file, seal, make_tables).map(|()| Found::Nothing).map_err(damaged);
    }
    let foreign = |cause: String| OpenError::Foreign { path: path.clone(), cause };
    let format = match read.open_table(FORMAT) {
        Ok(table) => table,
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => {
            return Err(foreign("a redb file without our format row".to_owned()));
        }
        Err(other) => return Err(damaged(other.into())),
    };
    let found = match format.get(kind(file)) {
        Ok(Some(row)) => row.value(),
        Ok(None) => return Err(foreign(format!("a file of ours, but not a {}", file.file_name()))),
        Err(error) => return Err(damaged(error.into())),
    };
    if found > FORMAT_VERSION {
        return Err(OpenError::Newer { path: path.clone(), found, reads: FORMAT_VERSION });
    }
    if file == DataFile::Log && found < JOURNAL_SINCE {
        return Err(OpenError::Older { path: path.clone(), found });
    }
    if found < FORMAT_VERSION {
        // Later versions of the state only have more key families: their tables are made, and what is there stays as it is.
        drop((format, read));
        make(database, file, None, make_tables).map_err(damaged)?;
    }
    Ok(Found::Tables)
}

fn make(
    database: &Database,
    file: DataFile,
    seal: Option<&SealOptions>,
    make_tables: impl Fn(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(FORMAT)?.insert(kind(file), FORMAT_VERSION)?;
    seal::lay_down(&write, seal)?;
    make_tables(&write)?;
    write.commit()?;
    Ok(())
}
