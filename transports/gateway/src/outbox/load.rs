//! What an outbox file holds when it is opened. Only reads.

use std::collections::HashMap;

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, TableError,
};
use twin_core::ids::TwinId;

use crate::outbox::dead_letters::{DeadLetter, DeadLetters};
use crate::outbox::dictionary::Dictionary;
use crate::outbox::format::{
    CHUNKS, DEAD_LETTERS, DEAD_LETTERS_KEY, DeadLettersRow, FLASH_KEY, FlashRow, Header, META, NOTES, Note, PATHS,
    POSITIONS, TWINS, TwinRow,
};
use crate::outbox::row::{Laid, RowError, decode_header, messages};

/// All that is in the file but its identity.
pub(crate) struct Loaded {
    pub(crate) twins: Vec<(TwinId, TwinRow)>,
    pub(crate) chunks: Vec<OpenedChunk>,
    pub(crate) dictionary: Dictionary,
    pub(crate) positions: HashMap<String, u64>,
    pub(crate) dead: DeadLetters,
    /// What was left of the flash budget, if there was one.
    pub(crate) flash_left_bytes: Option<i64>,
}

/// A row of messages.
pub(crate) struct OpenedChunk {
    pub(crate) key: u64,
    pub(crate) row_bytes: usize,
    pub(crate) note: Option<Note>,
    pub(crate) messages: Vec<(Laid, Header)>,
}

/// Why it could not be read.
pub(crate) enum LoadError {
    Redb(redb::Error),
    /// Which row, and what is wrong with it.
    Row(String, String),
}

impl<E: Into<redb::Error>> From<E> for LoadError {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl Default for Loaded {
    fn default() -> Self {
        Self {
            twins: Vec::new(),
            chunks: Vec::new(),
            dictionary: Dictionary::load([]),
            positions: HashMap::new(),
            dead: DeadLetters::load(0, 1, []),
            flash_left_bytes: None,
        }
    }
}

/// A table, if there is one: a release that had no use for it made none.
fn table<K: Key + 'static, V: redb::Value + 'static>(
    txn: &ReadTransaction,
    definition: TableDefinition<'_, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, LoadError> {
    match txn.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Reads it all. `dropped`: how many dead letters were dropped, where the file does not say it by itself.
pub(crate) fn load(db: &Database, dropped: u64) -> Result<Loaded, LoadError> {
    let txn = db.begin_read()?;
    let mut loaded = Loaded::default();
    let meta = txn.open_table(META)?;
    if let Some(row) = meta.get(FLASH_KEY)? {
        let row: FlashRow = rmp_serde::from_slice(row.value())
            .map_err(|error| LoadError::Row("the flash budget".into(), error.to_string()))?;
        loaded.flash_left_bytes = Some(row.left_bytes);
    }
    if let Some(twins) = table(&txn, TWINS)? {
        for row in twins.iter()? {
            let (key, row) = row?;
            let damaged = |message: String| LoadError::Row(format!("twin {:?}", key.value()), message);
            let id = TwinId::new(key.value()).map_err(|error| damaged(error.to_string()))?;
            let row = rmp_serde::from_slice(row.value()).map_err(|error| damaged(error.to_string()))?;
            loaded.twins.push((id, row));
        }
    }
    loaded.dictionary = Dictionary::load(paths(&txn)?);
    loaded.chunks = chunks(&txn)?;
    if let Some(positions) = table(&txn, POSITIONS)? {
        for row in positions.iter()? {
            let (source, position) = row?;
            loaded.positions.insert(source.value().to_owned(), position.value());
        }
    }
    let mut letters = Vec::new();
    if let Some(rows) = table(&txn, DEAD_LETTERS)? {
        for row in rows.iter()? {
            let (key, row) = row?;
            let letter: DeadLetter = rmp_serde::from_slice(row.value())
                .map_err(|error| LoadError::Row(format!("dead letter {}", key.value()), error.to_string()))?;
            letters.push((key.value(), row.value().len(), letter));
        }
    }
    let count = match meta.get(DEAD_LETTERS_KEY)? {
        None => DeadLettersRow { dropped, next_key: 1 },
        Some(row) => rmp_serde::from_slice(row.value())
            .map_err(|error| LoadError::Row("the count of dead letters".into(), error.to_string()))?,
    };
    loaded.dead = DeadLetters::load(count.dropped, count.next_key, letters);
    Ok(loaded)
}

fn paths(txn: &ReadTransaction) -> Result<Vec<twin_core::path::Path>, LoadError> {
    let mut paths = Vec::new();
    let Some(rows) = table(txn, PATHS)? else { return Ok(paths) };
    for row in rows.iter()? {
        let (index, row) = row?;
        let damaged = |message: String| LoadError::Row(format!("path {}", index.value()), message);
        if index.value() as usize != paths.len() {
            return Err(damaged(format!("{} come before it", paths.len())));
        }
        paths.push(rmp_serde::from_slice(row.value()).map_err(|error| damaged(error.to_string()))?);
    }
    Ok(paths)
}

fn chunks(txn: &ReadTransaction) -> Result<Vec<OpenedChunk>, LoadError> {
    let mut chunks = Vec::new();
    let (Some(rows), notes) = (table(txn, CHUNKS)?, table(txn, NOTES)?) else { return Ok(chunks) };
    for row in rows.iter()? {
        let (key, row) = row?;
        let (key, row) = (key.value(), row.value());
        let damaged = |message: String| LoadError::Row(format!("chunk {key}"), message);
        let note = match notes.as_ref().map(|notes| notes.get(key)).transpose()?.flatten() {
            Some(note) => Some(rmp_serde::from_slice(note.value()).map_err(|error| damaged(error.to_string()))?),
            None => None,
        };
        let messages: Result<_, RowError> = messages(key, row)
            .map(|laid| laid.and_then(|laid| Ok((laid.clone(), decode_header(key, &row[laid.header])?))))
            .collect();
        let messages = messages.map_err(|error| damaged(error.message))?;
        chunks.push(OpenedChunk { key, row_bytes: row.len(), note, messages });
    }
    Ok(chunks)
}
