//! Opens the outbox file and reads what it holds.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable};
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OutboxId};
use twin_transports::entropy::{Entropy, random_array};

use crate::limits::OUTBOX_CACHE_BYTES;
use crate::outbox::dead_letters::{DeadLetter, DeadLetters};
use crate::outbox::dictionary::Dictionary;
use crate::outbox::format::{
    CHUNKS, DEAD_LETTERS, FORMAT_VERSION, FORMAT_VERSION_MIN, Header, META, META_KEY, NOTES, Note, OutboxMeta, PATHS,
    POSITIONS, TWINS, TwinRow, encode_record,
};
use crate::outbox::row::{Laid, RowError, decode_header, messages};

/// Name of the file in the state directory.
pub const OUTBOX_FILE: &str = "outbox.redb";
/// Name under which it is made.
const OUTBOX_FILE_NEW: &str = "outbox.redb.new";

/// Why the outbox could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// The folder cannot be made.
    #[error("cannot make the state directory {path}: {source}")]
    Directory {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// redb refused.
    #[error("cannot open the outbox {path}: {source}; {}", remedy(source))]
    Open {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: Box<redb::Error>,
    },
    /// A newer release wrote it.
    #[error("the outbox {path} has format {found}, this release reads {FORMAT_VERSION}: run the newer release")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A release before this one wrote it, in a layout that is no longer read.
    #[error(
        "the outbox {path} has format {found}, this release reads {FORMAT_VERSION} only: let the release that wrote it send what \
         it holds, then move the file away to begin a new outbox"
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// A row of the bookkeeping cannot be read.
    #[error("the outbox {path} is damaged at {what}: {message}; move the file away to begin a new outbox")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which row.
        what: String,
        /// What is wrong.
        message: String,
    },
    /// No random bytes for its identity.
    #[error(transparent)]
    Entropy(#[from] twin_transports::entropy::EntropyError),
}

/// What to do about it.
fn remedy(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::DatabaseAlreadyOpen => "another gateway runs on it: stop that one first",
        redb::Error::Io(error) if error.kind() != io::ErrorKind::InvalidData => {
            "check that the state directory is writable by this user and has room"
        }
        _ => "move the file away to begin a new outbox",
    }
}

/// What the file held when it was opened; its boot has risen durably.
pub(crate) struct Opened {
    pub(crate) db: Database,
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) twins: Vec<(TwinId, TwinRow)>,
    pub(crate) chunks: Vec<OpenedChunk>,
    pub(crate) dictionary: Dictionary,
    pub(crate) positions: HashMap<String, u64>,
    pub(crate) dead: DeadLetters,
}

/// A row of messages.
pub(crate) struct OpenedChunk {
    pub(crate) key: u64,
    pub(crate) row_bytes: usize,
    pub(crate) note: Option<Note>,
    pub(crate) messages: Vec<(Laid, Header)>,
}

/// Opens or makes the outbox in this folder. **Invariant:** the boot is durable before anything is stamped with it, so no two
/// runs ever stamp different content with the same numbers.
pub(crate) fn open(directory: &Path, entropy: &dyn Entropy) -> Result<Opened, OutboxError> {
    private_directory(directory).map_err(|source| OutboxError::Directory { path: directory.to_owned(), source })?;
    let path = directory.join(OUTBOX_FILE);
    let failed = |source: redb::Error| OutboxError::Open { path: path.clone(), source: Box::new(source) };
    let mut builder = Database::builder();
    builder.set_cache_size(OUTBOX_CACHE_BYTES);
    let new = directory.join(OUTBOX_FILE_NEW);
    let (file, is_new) = file_of(&path, &new).map_err(&failed)?;
    let db = builder.create_file(file).map_err(|error| failed(error.into()))?;
    let meta = raise_boot(&db, &path, entropy, &failed)?;
    if is_new {
        put_in_place(&new, &path, directory).map_err(|error| failed(redb::Error::Io(error)))?;
    }
    let mut opened = Opened {
        db,
        outbox: meta.outbox,
        boot: Boot::new(meta.boot),
        twins: Vec::new(),
        chunks: Vec::new(),
        dictionary: Dictionary::load([]),
        positions: HashMap::new(),
        dead: DeadLetters::default(),
    };
    load(&mut opened, meta.dead_letters_dropped, &path).map_err(|error| match error {
        LoadError::Redb(error) => failed(error),
        LoadError::Row(what, message) => OutboxError::Damaged { path: path.clone(), what, message },
    })?;
    Ok(opened)
}

/// Makes what is not there, for the owner only.
fn private_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn open_private(path: &Path, create: bool) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).create(create).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The outbox, or an empty file under its first name (`true`). **Invariant:** a file is put in its place only when it is
/// complete and durable, so what a first start that was cut short left is emptied here and made anew.
fn file_of(path: &Path, new: &Path) -> Result<(File, bool), redb::Error> {
    match open_private(path, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => return Ok((opened.map_err(redb::Error::Io)?, false)),
    }
    let file = open_private(new, true).map_err(redb::Error::Io)?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(redb::Error::DatabaseAlreadyOpen),
        // Where there are no locks redb does without them, too.
        Err(TryLockError::Error(_)) | Ok(()) => {}
    }
    // Under the lock: another gateway may have put this very file in its place since it was opened.
    if path.exists() {
        return Err(redb::Error::DatabaseAlreadyOpen);
    }
    file.set_len(0).map_err(redb::Error::Io)?;
    Ok((file, true))
}

fn put_in_place(new: &Path, path: &Path, directory: &Path) -> io::Result<()> {
    std::fs::rename(new, path)?;
    // The rename itself is durable only with its folder.
    File::open(directory)?.sync_all()
}

fn raise_boot(
    db: &Database,
    path: &Path,
    entropy: &dyn Entropy,
    failed: &impl Fn(redb::Error) -> OutboxError,
) -> Result<OutboxMeta, OutboxError> {
    let mut txn = db.begin_write().map_err(|error| failed(error.into()))?;
    txn.set_quick_repair(true);
    let meta = {
        let mut table = txn.open_table(META).map_err(|error| failed(error.into()))?;
        let row = table.get(META_KEY).map_err(|error| failed(error.into()))?.map(|row| row.value().to_vec());
        let mut meta = match row {
            None => OutboxMeta {
                format: FORMAT_VERSION,
                outbox: OutboxId(random_array(entropy)?),
                boot: 0,
                dead_letters_dropped: 0,
            },
            Some(row) => rmp_serde::from_slice(&row).map_err(|error| OutboxError::Damaged {
                path: path.to_owned(),
                what: "its identity".into(),
                message: error.to_string(),
            })?,
        };
        if meta.format < FORMAT_VERSION_MIN {
            return Err(OutboxError::Older { path: path.to_owned(), found: meta.format });
        }
        if meta.format > FORMAT_VERSION {
            return Err(OutboxError::Newer { path: path.to_owned(), found: meta.format });
        }
        meta.format = FORMAT_VERSION;
        meta.boot += 1;
        table.insert(META_KEY, encode_record(&meta).as_slice()).map_err(|error| failed(error.into()))?;
        meta
    };
    for result in [
        txn.open_table(CHUNKS).map(drop),
        txn.open_table(NOTES).map(drop),
        txn.open_table(PATHS).map(drop),
        txn.open_table(TWINS).map(drop),
        txn.open_table(POSITIONS).map(drop),
        txn.open_table(DEAD_LETTERS).map(drop),
    ] {
        result.map_err(|error| failed(error.into()))?;
    }
    txn.commit().map_err(|error| failed(error.into()))?;
    Ok(meta)
}

enum LoadError {
    Redb(redb::Error),
    Row(String, String),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

fn load(opened: &mut Opened, dropped: u64, _path: &Path) -> Result<(), LoadError> {
    let txn = opened.db.begin_read()?;
    for row in txn.open_table(TWINS)?.iter()? {
        let (key, row) = row?;
        let damaged = |message: String| LoadError::Row(format!("twin {:?}", key.value()), message);
        let id = TwinId::new(key.value()).map_err(|error| damaged(error.to_string()))?;
        let row = rmp_serde::from_slice(row.value()).map_err(|error| damaged(error.to_string()))?;
        opened.twins.push((id, row));
    }
    let mut paths = Vec::new();
    for row in txn.open_table(PATHS)?.iter()? {
        let (index, row) = row?;
        let damaged = |message: String| LoadError::Row(format!("path {}", index.value()), message);
        if index.value() as usize != paths.len() {
            return Err(damaged(format!("{} come before it", paths.len())));
        }
        paths.push(
            rmp_serde::from_slice::<twin_core::path::Path>(row.value()).map_err(|error| damaged(error.to_string()))?,
        );
    }
    opened.dictionary = Dictionary::load(paths);
    let notes = txn.open_table(NOTES)?;
    for row in txn.open_table(CHUNKS)?.iter()? {
        let (key, row) = row?;
        let (key, row) = (key.value(), row.value());
        let damaged = |message: String| LoadError::Row(format!("chunk {key}"), message);
        let note = match notes.get(key)? {
            Some(note) => Some(rmp_serde::from_slice(note.value()).map_err(|error| damaged(error.to_string()))?),
            None => None,
        };
        let messages: Result<_, RowError> = messages(key, row)
            .map(|laid| laid.and_then(|laid| Ok((laid.clone(), decode_header(key, &row[laid.header])?))))
            .collect();
        let messages = messages.map_err(|error| damaged(error.message))?;
        opened.chunks.push(OpenedChunk { key, row_bytes: row.len(), note, messages });
    }
    for row in txn.open_table(POSITIONS)?.iter()? {
        let (source, position) = row?;
        opened.positions.insert(source.value().to_owned(), position.value());
    }
    let mut letters = Vec::new();
    for row in txn.open_table(DEAD_LETTERS)?.iter()? {
        let (key, row) = row?;
        let letter: DeadLetter = rmp_serde::from_slice(row.value())
            .map_err(|error| LoadError::Row(format!("dead letter {}", key.value()), error.to_string()))?;
        letters.push((key.value(), row.value().len(), letter));
    }
    opened.dead = DeadLetters::load(dropped, letters);
    Ok(())
}

/// A message that is on disk: the key of its chunk, and its own.
pub(crate) type Filed = (u64, u64);

/// Reads bodies, as of now. `None`: the message is not there, or cannot be read.
///
/// They are looked up by their place and not by where they lay: a row may have been rewritten since.
pub(crate) fn read_bodies(db: &Database, wanted: &[Filed]) -> Result<Vec<Option<Bytes>>, redb::Error> {
    let txn = db.begin_read()?;
    let table = txn.open_table(CHUNKS)?;
    let mut read = vec![None; wanted.len()];
    let mut at = 0;
    // Those that lie together are asked for together.
    for together in wanted.chunk_by(|a, b| a.0 == b.0) {
        let key = together[0].0;
        if let Some(row) = table.get(key)? {
            let row = Bytes::copy_from_slice(row.value());
            let lying: HashMap<u64, Laid> = messages(key, &row)
                .filter_map(|laid| laid.inspect_err(|error| tracing::error!(%error, "messages are lost")).ok())
                .map(|laid| (key + u64::from(laid.place), laid))
                .collect();
            for (place, (_, message)) in together.iter().enumerate() {
                // A copy: one message must not keep all of its row in memory.
                read[at + place] = lying.get(message).map(|laid| Bytes::copy_from_slice(&row[laid.body.clone()]));
            }
        }
        at += together.len();
    }
    Ok(read)
}

/// Reads a whole row.
pub(crate) fn read_row(db: &Database, key: u64) -> Result<Option<Bytes>, redb::Error> {
    Ok(db.begin_read()?.open_table(CHUNKS)?.get(key)?.map(|row| Bytes::copy_from_slice(row.value())))
}

#[cfg(test)]
mod tests {
    use twin_transports::entropy::SystemEntropy;

    use super::*;

    #[test]
    fn a_file_of_another_format_is_refused_with_what_to_do_and_left_as_it_is() {
        for (format, told) in [(1, "let the release that wrote it send"), (FORMAT_VERSION + 1, "run the newer release")]
        {
            let dir = tempfile::tempdir().unwrap();
            drop(open(dir.path(), &SystemEntropy::new()).unwrap());
            let meta = OutboxMeta { format, outbox: OutboxId([7; 16]), boot: 3, dead_letters_dropped: 0 };
            let rewrite = |meta: Option<&OutboxMeta>| {
                let db = Database::open(dir.path().join(OUTBOX_FILE)).unwrap();
                let txn = db.begin_write().unwrap();
                let row = {
                    let mut table = txn.open_table(META).unwrap();
                    if let Some(meta) = meta {
                        table.insert(META_KEY, encode_record(meta).as_slice()).unwrap();
                    }
                    table.get(META_KEY).unwrap().unwrap().value().to_vec()
                };
                txn.commit().unwrap();
                row
            };
            let before = rewrite(Some(&meta));
            let error = open(dir.path(), &SystemEntropy::new()).err().unwrap();
            assert!(error.to_string().contains(told), "{error}");
            assert_eq!(rewrite(None), before);
        }
    }

    #[test]
    fn a_file_from_before_alarms_is_opened_and_no_older_release_takes_it_then() {
        let dir = tempfile::tempdir().unwrap();
        let format = |set: Option<u32>| {
            let db = Database::open(dir.path().join(OUTBOX_FILE)).unwrap();
            let txn = db.begin_write().unwrap();
            let format = {
                let mut table = txn.open_table(META).unwrap();
                let row = table.get(META_KEY).unwrap().unwrap().value().to_vec();
                let mut meta: OutboxMeta = rmp_serde::from_slice(&row).unwrap();
                meta.format = set.unwrap_or(meta.format);
                table.insert(META_KEY, encode_record(&meta).as_slice()).unwrap();
                meta.format
            };
            txn.commit().unwrap();
            format
        };
        let outbox = open(dir.path(), &SystemEntropy::new()).unwrap().outbox;
        format(Some(FORMAT_VERSION_MIN));
        assert_eq!(open(dir.path(), &SystemEntropy::new()).unwrap().outbox, outbox);
        assert_eq!(format(None), FORMAT_VERSION);
    }

    #[test]
    fn what_a_start_that_was_cut_short_left_is_made_anew() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        // Of the right length, without redb's magic number, which is written last.
        std::fs::write(folder.join(OUTBOX_FILE_NEW), vec![0; 64 * 1024]).unwrap();
        let first = open(&folder, &SystemEntropy::new()).unwrap().outbox;
        assert!(!folder.join(OUTBOX_FILE_NEW).exists());
        assert_eq!(open(&folder, &SystemEntropy::new()).unwrap().outbox, first);
    }

    #[test]
    fn a_file_that_another_gateway_makes_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let _other = Database::create(folder.path().join(OUTBOX_FILE_NEW)).unwrap();
        let error = open(folder.path(), &SystemEntropy::new()).err().unwrap().to_string();
        assert!(error.contains("another gateway"), "{error}");
    }

    #[test]
    fn only_an_outbox_in_use_is_blamed_on_another_gateway() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(OUTBOX_FILE), "no database ".repeat(1000)).unwrap();
        let error = open(folder.path(), &SystemEntropy::new()).err().unwrap().to_string();
        assert!(!error.contains("another gateway") && error.contains("move the file away"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let _opened = open(folder.path(), &SystemEntropy::new()).unwrap();
        let error = open(folder.path(), &SystemEntropy::new()).err().unwrap().to_string();
        assert!(error.contains("another gateway"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_file_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        drop(open(&folder, &SystemEntropy::new()).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(OUTBOX_FILE)), 0o600);
    }
}
