//! How `state.redb` is laid out: one table per family, `groups` with what each checkpoint covers, and `journal` with how far the journal was
//! durable then.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::consensus::{LogId, StoredMembership};
use crate::entry::ChainLink;
use crate::families::Family;

/// Group (four bytes, big-endian) and the family's key -> the owner's value.
pub(crate) type RowTable = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Group -> record of [`Covered`].
pub(super) const GROUPS: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("groups");

/// [`DURABLE`] -> number of the last frame of the journal that was durable when the checkpoint was written. Files of earlier releases have
/// no such table until their first checkpoint; an earlier release leaves the number as it is, and it is still true.
const JOURNAL: TableDefinition<'static, &str, u64> = TableDefinition::new("journal");
/// The one row of it.
const DURABLE: &str = "durable";

pub(crate) const fn rows(family: Family) -> RowTable {
    TableDefinition::new(family.table_name())
}

/// What a checkpoint or a snapshot of a group covers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Covered {
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
    /// Without it, a restarted replica could apply an entry that the others refuse.
    pub(crate) chain: ChainLink,
}

/// Key on disk of a row.
pub(super) fn row_key(group: u32, key: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(4 + key.len());
    put_row_key(&mut whole, group, key);
    whole
}

/// Puts the key on disk of a row into a buffer that is used again and again.
pub(crate) fn put_row_key(whole: &mut Vec<u8>, group: u32, key: &[u8]) {
    whole.clear();
    whole.extend_from_slice(&group.to_be_bytes());
    whole.extend_from_slice(key);
}

/// Writes what the file covers of a group.
pub(crate) fn put_covered(write: &redb::WriteTransaction, group: u32, covered: &Covered) -> Result<(), redb::Error> {
    write.open_table(GROUPS)?.insert(group, encode(covered)?.as_slice())?;
    Ok(())
}

/// Writes how far the journal is durable.
pub(super) fn put_journal_durable(write: &redb::WriteTransaction, frame: u64) -> Result<(), redb::Error> {
    write.open_table(JOURNAL)?.insert(DURABLE, frame)?;
    Ok(())
}

/// How far the journal was durable at the last checkpoint; 0: nobody knows.
pub(crate) fn journal_durable(database: &Database) -> Result<u64, redb::Error> {
    match database.begin_read()?.open_table(JOURNAL) {
        Ok(table) => Ok(table.get(DURABLE)?.map_or(0, |row| row.value())),
        Err(TableError::TableDoesNotExist(_)) => Ok(0),
        Err(other) => Err(other.into()),
    }
}

/// Makes the tables of a new file.
pub(crate) fn make_tables(write: &redb::WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(GROUPS)?;
    write.open_table(JOURNAL)?;
    for family in Family::ALL {
        write.open_table(rows(family))?;
    }
    Ok(())
}

/// Reads what the file covers of each group.
pub(crate) fn load(database: &Database) -> Result<BTreeMap<u32, Covered>, redb::Error> {
    let read = database.begin_read()?;
    let table = read.open_table(GROUPS)?;
    table
        .iter()?
        .map(|row| {
            let (group, covered) = row?;
            Ok((group.value(), decode(covered.value())?))
        })
        .collect()
}

pub(crate) fn encode(covered: &Covered) -> Result<Vec<u8>, redb::Error> {
    codec::encode(covered, 256).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Covered, redb::Error> {
    codec::decode(bytes).map_err(|error| redb::Error::Corrupted(format!("a group's row of the state: {error}")))
}
