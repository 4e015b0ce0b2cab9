//! What an entry of a group's log carries: after-images of rows, chained per term.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::families::Family;
use crate::limits::{ENTRY_BYTES_MAX, ENTRY_ROW_OVERHEAD_BYTES, KEY_BYTES_MAX};
use crate::sharing;

/// Place of an entry in its group's chain: the term of the leader that made it, and its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainLink {
    /// Term of the leader that made the entry. It must be the term of the entry's log id.
    pub term: u64,
    /// Number within the group. Gapless, but for barriers.
    pub n: u64,
}

impl ChainLink {
    /// The link after this one in the same term.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { term: self.term, n: self.n + 1 }
    }
}

impl fmt::Display for ChainLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.term, self.n)
    }
}

/// One row as it is after the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowChange {
    /// The key family.
    pub family: Family,
    /// The key within group and family, made by the family's `key`.
    #[serde(deserialize_with = "sharing::bytes")]
    pub key: Bytes,
    /// The whole value; `None` deletes the row.
    #[serde(deserialize_with = "sharing::optional_bytes")]
    pub value: Option<Bytes>,
}

impl RowChange {
    /// The row has this value now.
    pub fn put(family: Family, key: Bytes, value: Bytes) -> Self {
        Self { family, key, value: Some(value) }
    }

    /// The row is gone now.
    pub fn delete(family: Family, key: Bytes) -> Self {
        Self { family, key, value: None }
    }

    /// What the row counts towards [`ENTRY_BYTES_MAX`].
    pub fn size_bytes(&self) -> u64 {
        (self.key.len() + self.value.as_ref().map_or(0, Bytes::len)) as u64 + ENTRY_ROW_OVERHEAD_BYTES
    }
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Opens a term, or starts the chain anew behind a rejected or unknown entry. Changes no row.
    Barrier,
    /// Rows of one batch. Shared, so that log, replication and state hold one copy.
    Batch(Arc<Vec<RowChange>>),
}

/// An entry was refused before it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryError {
    /// The batch is too large.
    #[error("an entry holds at most {ENTRY_BYTES_MAX} bytes of rows, this batch has {size_bytes}: split it")]
    TooLarge {
        /// Its size, see [`RowChange::size_bytes`].
        size_bytes: u64,
    },
    /// A key is empty or too long.
    #[error("a row key has 1 to {KEY_BYTES_MAX} bytes, one in family {family} has {length}")]
    Key {
        /// The family of the row.
        family: Family,
        /// Its length.
        length: usize,
    },
}

/// The data of one entry. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct EntryData {
    chain: ChainLink,
    change: Change,
}

/// What arrives from a disk or a peer, before its bounds are checked.
#[derive(Deserialize)]
struct Unchecked {
    chain: ChainLink,
    change: Change,
}

impl TryFrom<Unchecked> for EntryData {
    type Error = EntryError;

    fn try_from(unchecked: Unchecked) -> Result<Self, EntryError> {
        let Unchecked { chain, change } = unchecked;
        if let Change::Batch(rows) = &change {
            check(rows)?;
        }
        Ok(Self { chain, change })
    }
}

fn check(rows: &[RowChange]) -> Result<(), EntryError> {
    let size_bytes: u64 = rows.iter().map(RowChange::size_bytes).sum();
    if size_bytes > ENTRY_BYTES_MAX {
        return Err(EntryError::TooLarge { size_bytes });
    }
    match rows.iter().find(|row| row.key.is_empty() || row.key.len() > KEY_BYTES_MAX) {
        Some(row) => Err(EntryError::Key { family: row.family, length: row.key.len() }),
        None => Ok(()),
    }
}

impl EntryData {
    /// A barrier.
    pub fn barrier(chain: ChainLink) -> Self {
        Self { chain, change: Change::Barrier }
    }

    /// A batch of rows, applied in order.
    pub fn batch(chain: ChainLink, rows: Vec<RowChange>) -> Result<Self, EntryError> {
        check(&rows)?;
        Ok(Self { chain, change: Change::Batch(Arc::new(rows)) })
    }

    /// Its place in the chain.
    pub fn chain(&self) -> ChainLink {
        self.chain
    }

    /// What it does.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// Bytes of its rows, see [`RowChange::size_bytes`].
    pub fn size_bytes(&self) -> u64 {
        match &self.change {
            Change::Barrier => 0,
            Change::Batch(rows) => rows.iter().map(RowChange::size_bytes).sum(),
        }
    }
}

impl fmt::Display for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::Barrier => write!(f, "barrier {}", self.chain),
            Change::Batch(rows) => write!(f, "batch {} of {} rows", self.chain, rows.len()),
        }
    }
}

/// What became of a committed entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "an entry that was refused changed nothing"]
pub enum Applied {
    /// Its rows are the state now.
    Applied,
    /// It did not fit the chain and changed nothing.
    ChainRefused {
        /// The link that a batch would have needed (for a barrier: the lowest).
        expected: ChainLink,
        /// The link it had.
        got: ChainLink,
    },
}
