//! The file as of one checkpoint.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::tables::{Covered, GROUPS, decode, row_key, rows};
use crate::families::{FAMILY_COUNT, Family};
use crate::seal::Seal;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// Rows of a table, key (with its group) and value.
pub(super) type BaseRange = redb::Range<'static, &'static [u8], &'static [u8]>;

/// One consistent view of `state.redb`, shared by all reads until the next checkpoint: opening the tables
/// costs once a second, not once a read. It keeps the pages of its checkpoint alive, so the file carries
/// at most one old generation for it, and longer only for a snapshot that is being sent.
pub(crate) struct Base {
    families: [Rows; FAMILY_COUNT],
    groups: ReadOnlyTable<u32, &'static [u8]>,
    seal: Option<Arc<Seal>>,
}

impl Base {
    pub(crate) fn open(database: &Database, seal: Option<Arc<Seal>>) -> Result<Self, redb::Error> {
        let read = database.begin_read()?;
        let opened: Result<Vec<Rows>, redb::TableError> =
            Family::ALL.into_iter().map(|family| read.open_table(rows(family))).collect();
        let Ok(families) = opened?.try_into() else { unreachable!("as many tables as families") };
        Ok(Self { families, groups: read.open_table(GROUPS)?, seal })
    }

    pub(super) fn get(&self, family: Family, group: u32, key: &[u8]) -> Result<Option<Bytes>, redb::StorageError> {
        let key = row_key(group, key);
        let row = self.families[family.at()].get(key.as_slice())?;
        row.map(|value| Ok(self.value(family, &key, value.value())?.into_owned().into())).transpose()
    }

    /// A value of [`Self::range`], unsealed. `key` is that on disk.
    pub(super) fn value<'a>(
        &self,
        family: Family,
        key: &[u8],
        value: &'a [u8],
    ) -> Result<Cow<'a, [u8]>, redb::StorageError> {
        match &self.seal {
            None => Ok(Cow::Borrowed(value)),
            Some(seal) => Ok(Cow::Owned(seal.unseal(&[&[family.number()], key], value)?)),
        }
    }

    /// Rows of a group from `from` on (with its group number), in key order, up to the end of the table.
    pub(super) fn range(&self, family: Family, from: &[u8]) -> Result<BaseRange, redb::StorageError> {
        self.families[family.at()].range(from..)
    }

    /// Rows of a family, of all groups.
    pub(super) fn count(&self, family: Family) -> Result<u64, redb::StorageError> {
        self.families[family.at()].len()
    }

    /// What the checkpoint covers of a group.
    pub(super) fn covered(&self, group: u32) -> Result<Covered, redb::Error> {
        match self.groups.get(group)? {
            Some(row) => decode(row.value()),
            None => Ok(Covered::default()),
        }
    }
}
