//! How `log.redb` is laid out.
//!
//! - `entries`: group (four bytes, big-endian) and index (eight) -> record of the entry. A round that
//!   appends for many groups writes at the right edge of each group's range.
//! - `groups`: group and kind -> record. Kinds: 1 vote, 2 committed id, 3 purged id, 4 bytes of entries.
//!   The bytes are kept, rather than summed up at start, so that opening never walks the log.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::codec;
use crate::consensus::{Entry, LogId, ReplicaId, Vote};
use crate::seal::Seal;
use crate::sharing;

pub(super) const ENTRIES: TableDefinition<'static, &[u8; 12], &[u8]> = TableDefinition::new("entries");
pub(super) const GROUPS: TableDefinition<'static, &[u8; 5], &[u8]> = TableDefinition::new("groups");

pub(super) const KIND_VOTE: u8 = 1;
pub(super) const KIND_COMMITTED: u8 = 2;
pub(super) const KIND_PURGED: u8 = 3;
pub(super) const KIND_BYTES: u8 = 4;

pub(super) fn entry_key(group: u32, index: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&group.to_be_bytes());
    key[4..].copy_from_slice(&index.to_be_bytes());
    key
}

pub(super) fn entry_index(key: &[u8; 12]) -> u64 {
    let mut index = [0; 8];
    index.copy_from_slice(&key[4..]);
    u64::from_be_bytes(index)
}

pub(super) fn group_key(group: u32, kind: u8) -> [u8; 5] {
    let [a, b, c, d] = group.to_be_bytes();
    [a, b, c, d, kind]
}

/// Makes the tables of a new file.
pub(crate) fn make_tables(write: &redb::WriteTransaction) -> Result<(), redb::Error> {
    write.open_table(ENTRIES)?;
    write.open_table(GROUPS)?;
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

/// What a file holds of one group, besides its entries.
#[derive(Debug, Default)]
pub(crate) struct StoredGroup {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) last: Option<LogId>,
    /// Index of the first entry that is part of the log; that after the purged one if there is none.
    pub(crate) first: u64,
    /// Bytes of all entries on disk.
    pub(crate) bytes: u64,
    /// Whether entries that are purged are still on disk: a purge deletes a few in each round.
    pub(crate) purge_unfinished: bool,
}

/// Reads what the file holds of each group.
pub(crate) fn load(database: &Database, seal: Option<&Seal>) -> Result<BTreeMap<u32, StoredGroup>, redb::Error> {
    let read = database.begin_read()?;
    let mut groups: BTreeMap<u32, StoredGroup> = BTreeMap::new();
    for row in read.open_table(GROUPS)?.iter()? {
        let (key, value) = row?;
        let [a, b, c, d, kind] = *key.value();
        let group = groups.entry(u32::from_be_bytes([a, b, c, d])).or_default();
        match kind {
            KIND_VOTE => group.vote = decode(value.value())?,
            KIND_COMMITTED => group.committed = decode(value.value())?,
            KIND_PURGED => group.purged = decode(value.value())?,
            KIND_BYTES => group.bytes = decode(value.value())?,
            other => return Err(redb::Error::Corrupted(format!("group row of unknown kind {other}"))),
        }
    }
    let entries = read.open_table(ENTRIES)?;
    for (number, group) in &mut groups {
        let (from, to) = (entry_key(*number, 0), entry_key(*number, u64::MAX));
        let mut range = entries.range::<&[u8; 12]>(&from..=&to)?;
        let behind_purged = group.purged.map_or(0, |purged| purged.index + 1);
        let first = range.next().transpose()?.map_or(behind_purged, |(key, _)| entry_index(key.value()));
        group.purge_unfinished = first < behind_purged;
        group.first = first.max(behind_purged);
        let last = match entries.range::<&[u8; 12]>(&from..=&to)?.next_back() {
            Some(row) => {
                let (key, value) = row?;
                Some(read_entry(seal, key.value(), value.value())?.log_id)
            }
            None => None,
        };
        group.last = last.max(group.purged);
    }
    Ok(groups)
}

/// An entry, from its record. Its rows are slices of one buffer: whoever keeps some of them copies them.
pub(super) fn read_entry(seal: Option<&Seal>, key: &[u8; 12], record: &[u8]) -> Result<Entry, redb::Error> {
    let record = match seal {
        None => Bytes::copy_from_slice(record),
        Some(seal) => seal.unseal(&[key], record).map_err(redb::StorageError::from)?.into(),
    };
    sharing::within(&record, || decode(&record))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, redb::Error> {
    codec::decode(bytes).map_err(|error| redb::Error::Corrupted(format!("a record of the log: {error}")))
}

/// Errors of redb as openraft wants them.
pub(crate) fn io_error(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        other => io::Error::other(other),
    }
}
