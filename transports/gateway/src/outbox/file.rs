//! Opens the outbox file and reads what it holds.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase, ReadableTable};
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OutboxId};
use twin_transports::entropy::{Entropy, random_array};

use crate::limits::OUTBOX_CACHE_BYTES;
use crate::outbox::dead_letters::{DeadLetter, DeadLetters};
use crate::outbox::format::{
    Body, DEAD_LETTERS, FORMAT_VERSION, Header, MESSAGES, META, META_KEY, OutboxMeta, POSITIONS, TWINS, TwinRow,
    decode_header, decode_row, encode_record,
};

/// Name of the file in the state directory.
pub const OUTBOX_FILE: &str = "outbox.redb";

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
    #[error("cannot open the outbox {path}: {source}; if another gateway runs on it, stop that one first")]
    Open {
        /// Which file.
        path: PathBuf,
        /// What happened.
        source: Box<redb::Error>,
    },
    /// A newer release wrote it.
    #[error("the outbox {path} has format {found}, this release reads up to {FORMAT_VERSION}: run the newer release")]
    Newer {
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

/// What the file held when it was opened; its boot has risen durably.
pub(crate) struct Opened {
    pub(crate) db: Database,
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) twins: Vec<(TwinId, TwinRow)>,
    /// Key, header, length of the row, length of the body.
    pub(crate) messages: Vec<(u64, Header, usize)>,
    pub(crate) positions: HashMap<String, u64>,
    pub(crate) dead: DeadLetters,
}

/// Opens or makes the outbox in this folder. **Invariant:** the boot is durable before anything is stamped with it, so no two
/// runs ever stamp different content with the same numbers.
pub(crate) fn open(directory: &Path, entropy: &dyn Entropy) -> Result<Opened, OutboxError> {
    std::fs::create_dir_all(directory)
        .map_err(|source| OutboxError::Directory { path: directory.to_owned(), source })?;
    let path = directory.join(OUTBOX_FILE);
    let failed = |source: redb::Error| OutboxError::Open { path: path.clone(), source: Box::new(source) };
    let mut builder = Database::builder();
    builder.set_cache_size(OUTBOX_CACHE_BYTES);
    let db = builder.create(&path).map_err(|error| failed(error.into()))?;
    let meta = raise_boot(&db, &path, entropy, &failed)?;
    let mut opened = Opened {
        db,
        outbox: meta.outbox,
        boot: Boot::new(meta.boot),
        twins: Vec::new(),
        messages: Vec::new(),
        positions: HashMap::new(),
        dead: DeadLetters::default(),
    };
    load(&mut opened, meta.dead_letters_dropped, &path).map_err(|error| match error {
        LoadError::Redb(error) => failed(error),
        LoadError::Row(what, message) => OutboxError::Damaged { path: path.clone(), what, message },
    })?;
    Ok(opened)
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
        if meta.format > FORMAT_VERSION {
            return Err(OutboxError::Newer { path: path.to_owned(), found: meta.format });
        }
        meta.boot += 1;
        table.insert(META_KEY, encode_record(&meta).as_slice()).map_err(|error| failed(error.into()))?;
        meta
    };
    for result in [
        txn.open_table(MESSAGES).map(drop),
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
    for row in txn.open_table(MESSAGES)?.iter()? {
        let (key, row) = row?;
        let row = row.value();
        let header = decode_header(key.value(), row)
            .map_err(|error| LoadError::Row(format!("message {}", key.value()), error.message))?;
        opened.messages.push((key.value(), header, row.len()));
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

/// Reads bodies by key, as of now. `None`: the row is not there, or cannot be read.
pub(crate) fn read_bodies(db: &Database, keys: &[u64]) -> Result<Vec<Option<Body>>, redb::Error> {
    let txn = db.begin_read()?;
    let table = txn.open_table(MESSAGES)?;
    keys.iter()
        .map(|key| {
            let row = table.get(*key)?;
            Ok(row.and_then(|row| match decode_row(*key, row.value()) {
                Ok((_, body)) => Some(body),
                Err(error) => {
                    tracing::error!(%error, "a message is lost");
                    None
                }
            }))
        })
        .collect()
}
