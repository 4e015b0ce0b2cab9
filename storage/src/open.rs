//! Opening a file: is it ours, can this release read it, is somebody else in it?

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{Database, DatabaseError, ReadableDatabase, TableDefinition, TableError, TableHandle};
use twin_waiting_file::WaitingFile;

use crate::disk::Disk;
use crate::failure::DataFile;
use crate::guard::{OpenDatabase, contradiction, guarded, quietly};
use crate::open_error::OpenError;
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
    let damaged = |error: redb::Error| OpenError::of_redb(path.clone(), error);
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
