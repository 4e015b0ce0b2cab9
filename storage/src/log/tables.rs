//! How `log.redb` is laid out: where the logs begin.
//!
//! - `groups`: group (four bytes, big-endian) and kind -> record. Kinds: 1 vote, 2 committed id, 3 purged id. Written by a restore alone;
//!   what came later is in the journal.
//! - `journal`: the row that says that the journal was made, so that a lost one is not begun anew.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::journal::Roots;
use crate::codec;
use crate::consensus::{LogId, ReplicaId, Vote};

const GROUPS: TableDefinition<'static, &[u8; 5], &[u8]> = TableDefinition::new("groups");
const JOURNAL: TableDefinition<'static, &str, u32> = TableDefinition::new("journal");
/// Its one row, and what it says.
const MADE: (&str, u32) = ("made", 1);

const KIND_VOTE: u8 = 1;
const KIND_COMMITTED: u8 = 2;
const KIND_PURGED: u8 = 3;

fn group_key(group: u32, kind: u8) -> [u8; 5] {
    let [a, b, c, d] = group.to_be_bytes();
    [a, b, c, d, kind]
}

/// Makes the tables of a new file.
pub(crate) fn make_tables(write: &redb::WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(GROUPS)?;
    write.open_table(JOURNAL)?;
    Ok(())
}

/// An empty log behind `applied`, under the vote of the replica that wrote it.
pub(crate) fn begin_behind(
    write: &redb::WriteTransaction,
    group: u32,
    applied: LogId,
    replica: ReplicaId,
) -> Result<(), redb::Error> {
    let encode =
        |record: Result<Vec<u8>, codec::CodecError>| record.map_err(|error| redb::Error::Corrupted(error.to_string()));
    let mut groups = write.open_table(GROUPS)?;
    let vote = Vote::new_committed(*applied.leader_id, replica);
    groups.insert(&group_key(group, KIND_VOTE), encode(codec::encode(&Some(vote), 0))?.as_slice())?;
    groups.insert(&group_key(group, KIND_COMMITTED), encode(codec::encode(&Some(applied), 0))?.as_slice())?;
    groups.insert(&group_key(group, KIND_PURGED), encode(codec::encode(&Some(applied), 0))?.as_slice())?;
    Ok(())
}

/// Where the logs of a restored node begin.
pub(super) fn founding(database: &Database) -> Result<BTreeMap<u32, Roots>, redb::Error> {
    let read = database.begin_read()?;
    let mut groups: BTreeMap<u32, Roots> = BTreeMap::new();
    for row in read.open_table(GROUPS)?.iter()? {
        let (key, value) = row?;
        let [a, b, c, d, kind] = *key.value();
        let group = groups.entry(u32::from_be_bytes([a, b, c, d])).or_default();
        match kind {
            KIND_VOTE => group.vote = decode(value.value())?,
            KIND_COMMITTED => group.committed = decode(value.value())?,
            KIND_PURGED => group.purged = decode(value.value())?,
            other => return Err(redb::Error::Corrupted(format!("group row of unknown kind {other}"))),
        }
        group.first = group.purged.map_or(0, |purged| purged.index.saturating_add(1));
        group.next = group.first;
    }
    Ok(groups)
}

/// Was the journal made?
pub(super) fn has_journal(database: &Database) -> Result<bool, redb::Error> {
    let read = database.begin_read()?;
    let made = read.open_table(JOURNAL)?.get(MADE.0)?.is_some();
    Ok(made)
}

/// Writes that the journal was made, durably.
pub(super) fn journal_made(database: &Database) -> Result<(), redb::Error> {
    let mut write = database.begin_write()?;
    write.set_quick_repair(true);
    write.open_table(JOURNAL)?.insert(MADE.0, MADE.1)?;
    write.commit()?;
    Ok(())
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    codec::decode(bytes).map_err(|error| redb::Error::Corrupted(format!("a record of the log: {error}")))
}
