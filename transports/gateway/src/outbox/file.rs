//! Opens the outbox file.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, StorageBackend, TableError};
use twin_core::numbers::{Boot, OutboxId};
use twin_transports::entropy::{Entropy, random_array};
use twin_waiting_file::WaitingFile;

use crate::limits::{OUTBOX_CACHE_BYTES, QUICK_REPAIR_FROM_BYTES};
use crate::outbox::database::OutboxDatabase;
use crate::outbox::disk::OutboxDisk;
use crate::outbox::format::{
    CHUNKS, DEAD_LETTERS, FORMAT_VERSION, FORMAT_VERSION_MIN, META, META_KEY, NOTES, OutboxMeta, PATHS, POSITIONS,
    TWINS, encode_record,
};
use crate::outbox::held_file::HeldFile;
use crate::outbox::kept_file::KeptFile;
use crate::outbox::load::{LoadError, Loaded, load};
use crate::outbox::row::{Laid, messages};
use crate::outbox::space::{OutboxRoom, Space};

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
    /// Something else.
    #[error(
        "{path} is not the outbox of a gateway ({cause}): give the gateway another state directory, or move the file away"
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// How we know.
        cause: &'static str,
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
        redb::Error::Io(error)
            if !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            "check that the state directory is writable by this user and has room"
        }
        _ => "move the file away to begin a new outbox",
    }
}

/// What the file held when it was opened; its boot has risen durably.
pub(crate) struct Opened {
    pub(crate) db: OutboxDatabase,
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) content: Loaded,
    pub(crate) space: Arc<Space>,
}

/// Opens or makes the outbox. **Invariant:** the boot is durable before anything is stamped with it, so no two runs ever stamp
/// different content with the same numbers. **Invariant:** a file that is refused is left as it is, to the byte: whose it is, and what
/// it was worth, is for people to find out.
pub(crate) fn open(disk: &dyn OutboxDisk, entropy: &dyn Entropy) -> Result<Opened, OutboxError> {
    let path = disk.path();
    disk.prepare()
        .map_err(|source| OutboxError::Directory { path: path.parent().unwrap_or(&path).to_owned(), source })?;
    let failed = |source: redb::Error| OutboxError::Open { path: path.clone(), source: Box::new(source) };
    let (backend, is_new) = disk.open().map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::WouldBlock => redb::Error::DatabaseAlreadyOpen,
            _ => redb::Error::Io(error),
        })
    })?;
    if !is_new && backend.len().map_err(|error| failed(redb::Error::Io(error)))? == 0 {
        // An outbox is never empty in its place; redb would take it for a new one, and what it once held would be lost in silence.
        return Err(OutboxError::Foreign { path, cause: "it is empty" });
    }
    // redb checks its own structures with assertions: on a damaged file they become an error, not the end of the application.
    let opened = catch_unwind(AssertUnwindSafe(|| read(backend, is_new, disk, entropy)));
    opened.unwrap_or_else(|_| {
        Err(OutboxError::Damaged { path, what: "its pages".into(), message: "its structure contradicts itself".into() })
    })
}

fn read(
    backend: Box<dyn StorageBackend>,
    is_new: bool,
    disk: &dyn OutboxDisk,
    entropy: &dyn Entropy,
) -> Result<Opened, OutboxError> {
    let path = disk.path();
    let failed = |source: redb::Error| OutboxError::Open { path: path.clone(), source: Box::new(source) };
    let space = Space::new(path.clone());
    let kept = KeptFile::new(backend).map_err(|error| failed(redb::Error::Io(error)))?;
    let held = HeldFile::new(Box::new(kept.clone()));
    if is_new {
        kept.keep();
        held.let_through().map_err(|error| failed(redb::Error::Io(error)))?;
    }
    let mut builder = Database::builder();
    builder.set_cache_size(OUTBOX_CACHE_BYTES);
    let file = WaitingFile::new(Box::new(held.clone()), OutboxRoom(Arc::clone(&space)));
    let db = builder.create_with_backend(file).map_err(|error| failed(error.into()))?;
    let db = OutboxDatabase::new(db, held.clone());
    let (meta, content) = if is_new {
        (first_meta(entropy)?, Loaded::default())
    } else {
        let meta = read_meta(&db, &path, &failed)?;
        let loaded = load(&db, meta.dead_letters_dropped).map_err(|error| match error {
            LoadError::Redb(error) => failed(error),
            LoadError::Row(what, message) => OutboxError::Damaged { path: path.clone(), what, message },
        })?;
        (meta, loaded)
    };
    // It is an outbox, and all of it can be read. What was refused before this line is as it was, to the byte.
    held.let_through().map_err(|error| failed(redb::Error::Io(error)))?;
    kept.keep();
    let meta = OutboxMeta { format: FORMAT_VERSION, boot: meta.boot + 1, ..meta };
    let file_bytes = held.len().map_err(|error| failed(redb::Error::Io(error)))?;
    write_meta(&db, &meta, file_bytes).map_err(failed)?;
    if is_new {
        disk.put_in_place().map_err(|error| failed(redb::Error::Io(error)))?;
    }
    Ok(Opened { db, outbox: meta.outbox, boot: Boot::new(meta.boot), content, space })
}

/// Of an outbox that begins. No boot was ever given out.
fn first_meta(entropy: &dyn Entropy) -> Result<OutboxMeta, OutboxError> {
    let outbox = OutboxId(random_array(entropy)?);
    Ok(OutboxMeta { format: FORMAT_VERSION, outbox, boot: 0, dead_letters_dropped: 0 })
}

/// Is it an outbox, and of a format that is read here?
fn read_meta(
    db: &Database,
    path: &Path,
    failed: &impl Fn(redb::Error) -> OutboxError,
) -> Result<OutboxMeta, OutboxError> {
    let path = path.to_owned();
    let txn = db.begin_read().map_err(|error| failed(error.into()))?;
    let row = match txn.open_table(META) {
        Ok(table) => table.get(META_KEY).map_err(|error| failed(error.into()))?.map(|row| row.value().to_vec()),
        Err(TableError::TableDoesNotExist(_) | TableError::TableTypeMismatch { .. }) => None,
        Err(error) => return Err(failed(error.into())),
    };
    let Some(row) = row else {
        return Err(OutboxError::Foreign { path, cause: "a redb file of something else" });
    };
    let meta: OutboxMeta = rmp_serde::from_slice(&row).map_err(|error| OutboxError::Damaged {
        path: path.clone(),
        what: "its identity".into(),
        message: error.to_string(),
    })?;
    match meta.format {
        ..FORMAT_VERSION_MIN => Err(OutboxError::Older { path, found: meta.format }),
        FORMAT_VERSION_MIN..=FORMAT_VERSION => Ok(meta),
        _ => Err(OutboxError::Newer { path, found: meta.format }),
    }
}

fn write_meta(db: &Database, meta: &OutboxMeta, file_bytes: u64) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    // As the writer does: an account of the pages takes some, and those of a small file may be all that a full disk has.
    txn.set_quick_repair(file_bytes >= QUICK_REPAIR_FROM_BYTES);
    txn.open_table(META)?.insert(META_KEY, encode_record(meta).as_slice())?;
    for result in [
        txn.open_table(CHUNKS).map(drop),
        txn.open_table(NOTES).map(drop),
        txn.open_table(PATHS).map(drop),
        txn.open_table(TWINS).map(drop),
        txn.open_table(POSITIONS).map(drop),
        txn.open_table(DEAD_LETTERS).map(drop),
    ] {
        result?;
    }
    txn.commit()?;
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
    use redb::ReadableTable as _;
    use twin_core::ids::TwinId;
    use twin_transports::entropy::SystemEntropy;

    use super::*;
    use crate::outbox::disk::{DirectoryDisk, OUTBOX_FILE, OUTBOX_FILE_NEW};
    use crate::outbox::format::TwinRow;

    fn open_in(directory: &Path) -> Result<Opened, OutboxError> {
        open(&DirectoryDisk::new(directory), &SystemEntropy::new())
    }

    #[test]
    fn a_file_of_another_format_is_refused_with_what_to_do_and_left_as_it_is() {
        for (format, told) in [(1, "let the release that wrote it send"), (FORMAT_VERSION + 1, "run the newer release")]
        {
            let dir = tempfile::tempdir().unwrap();
            drop(open_in(dir.path()).unwrap());
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
            rewrite(Some(&meta));
            let before = std::fs::read(dir.path().join(OUTBOX_FILE)).unwrap();
            let error = open_in(dir.path()).err().unwrap();
            assert!(error.to_string().contains(told), "{error}");
            assert!(std::fs::read(dir.path().join(OUTBOX_FILE)).unwrap() == before, "not a byte");
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
        let outbox = open_in(dir.path()).unwrap().outbox;
        format(Some(FORMAT_VERSION_MIN));
        assert_eq!(open_in(dir.path()).unwrap().outbox, outbox);
        assert_eq!(format(None), FORMAT_VERSION);
    }

    #[test]
    fn what_a_start_that_was_cut_short_left_is_made_anew() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        std::fs::create_dir_all(&folder).unwrap();
        // Of the right length, without redb's magic number, which is written last.
        std::fs::write(folder.join(OUTBOX_FILE_NEW), vec![0; 64 * 1024]).unwrap();
        let first = open_in(&folder).unwrap().outbox;
        assert!(!folder.join(OUTBOX_FILE_NEW).exists());
        assert_eq!(open_in(&folder).unwrap().outbox, first);
    }

    #[test]
    fn a_file_that_another_gateway_makes_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let _other = Database::create(folder.path().join(OUTBOX_FILE_NEW)).unwrap();
        let error = open_in(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another gateway"), "{error}");
    }

    #[test]
    fn only_an_outbox_in_use_is_blamed_on_another_gateway() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(OUTBOX_FILE), "no database ".repeat(1000)).unwrap();
        let error = open_in(folder.path()).err().unwrap().to_string();
        assert!(!error.contains("another gateway") && error.contains("move the file away"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let _opened = open_in(folder.path()).unwrap();
        let error = open_in(folder.path()).err().unwrap().to_string();
        assert!(error.contains("another gateway"), "{error}");
    }

    #[test]
    fn a_foreign_file_is_refused_by_name_and_left_as_it_is() {
        const OTHER: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("other");
        for empty in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(OUTBOX_FILE);
            if empty {
                std::fs::write(&path, "").unwrap();
            } else {
                let db = Database::create(&path).unwrap();
                let txn = db.begin_write().unwrap();
                txn.open_table(OTHER).unwrap().insert("key", 7).unwrap();
                txn.commit().unwrap();
            }
            let before = std::fs::read(&path).unwrap();
            let error = open_in(dir.path()).err().unwrap();
            assert!(matches!(error, OutboxError::Foreign { .. }), "{error}");
            assert!(std::fs::read(&path).unwrap() == before, "not a byte");
            let told = error.to_string();
            assert!(told.contains("outbox.redb") && told.contains("move the file away"), "{told}");
            if empty {
                assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
            } else {
                let txn = Database::open(&path).unwrap().begin_read().unwrap();
                assert_eq!(txn.list_tables().unwrap().count(), 1);
                assert_eq!(txn.open_table(OTHER).unwrap().get("key").unwrap().unwrap().value(), 7);
            }
        }
    }

    /// As a node's kill leaves it: redb repairs such a file as it opens it, also where it is not ours.
    #[test]
    fn a_foreign_file_that_was_not_closed_is_left_as_it_is_too() {
        const OTHER: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("other");
        let dir = tempfile::tempdir().unwrap();
        let (path, killed) = (dir.path().join(OUTBOX_FILE), dir.path().join("killed"));
        let db = Database::create(&path).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(OTHER).unwrap().insert("key", 7).unwrap();
        txn.commit().unwrap();
        std::fs::copy(&path, &killed).unwrap();
        drop(db);
        std::fs::rename(&killed, &path).unwrap();
        let before = std::fs::read(&path).unwrap();
        let error = open_in(dir.path()).err().unwrap();
        assert!(matches!(error, OutboxError::Foreign { .. }), "{error}");
        assert!(std::fs::read(&path).unwrap() == before, "not a byte");
    }

    #[test]
    fn an_outbox_with_a_row_that_cannot_be_read_is_refused_by_that_row_and_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        with_content(dir.path());
        let path = dir.path().join(OUTBOX_FILE);
        let db = Database::open(&path).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(TWINS).unwrap().insert("label-7", &[0xc1][..]).unwrap();
        txn.commit().unwrap();
        drop(db);
        let before = std::fs::read(&path).unwrap();
        let error = open_in(dir.path()).err().unwrap();
        assert!(matches!(&error, OutboxError::Damaged { what, .. } if what.contains("label-7")), "{error}");
        assert!(std::fs::read(&path).unwrap() == before, "not a byte");
    }

    /// With chunks, devices and a dead letter's table.
    fn with_content(directory: &Path) {
        let opened = open_in(directory).unwrap();
        let txn = opened.db.begin_write().unwrap();
        for key in 1..40 {
            let mut row = Vec::new();
            let twin = TwinId::new(&format!("label-{key}")).unwrap();
            let stamp = crate::outbox::row::Stamp {
                twin: &twin,
                stay: twin_core::numbers::Stay { boot: opened.boot, counter: 1 },
                first: twin_core::numbers::Seq::new(1),
                last: twin_core::numbers::Seq::new(1),
                class: crate::outbox::format::Class::State,
                paths: 0,
            };
            crate::outbox::row::push(&mut row, 0, &stamp, &[7; 300]);
            txn.open_table(CHUNKS).unwrap().insert(key, row.as_slice()).unwrap();
            txn.open_table(TWINS)
                .unwrap()
                .insert(twin.as_str(), encode_record(&TwinRow::default()).as_slice())
                .unwrap();
        }
        txn.commit().unwrap();
    }

    #[test]
    fn a_damaged_file_is_opened_or_refused_by_name_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        with_content(dir.path());
        let whole = std::fs::read(dir.path().join(OUTBOX_FILE)).unwrap();
        let (mut refused, mut opened) = (0, 0);
        // Bytes of the header and of the first pages, in turn; and the file cut short there.
        for at in (0..4096).step_by(211).chain((4096..whole.len().min(1 << 18)).step_by(7_919)) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            for content in [&damaged[..], &whole[..at]] {
                let dir = tempfile::tempdir().unwrap();
                std::fs::write(dir.path().join(OUTBOX_FILE), content).unwrap();
                match open_in(dir.path()) {
                    Ok(_) => opened += 1,
                    Err(error) => {
                        refused += 1;
                        let told = error.to_string();
                        assert!(told.contains("outbox.redb"), "{told}");
                        assert!(told.contains("move the file away") || told.contains("release"), "{told}");
                        assert!(std::fs::read(dir.path().join(OUTBOX_FILE)).unwrap() == content, "{at}: not a byte");
                    }
                }
            }
        }
        assert!(refused > 20 && opened > 20, "{refused} refused, {opened} opened");
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_file_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        drop(open_in(&folder).unwrap());
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join(OUTBOX_FILE)), 0o600);
    }
}
