//! The file as of one checkpoint.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use redb::{AccessGuard, Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata};

use super::tables::{Covered, GROUPS, decode, row_key, rows};
use crate::failure::{DataFile, FailureFlag};
use crate::families::{FAMILY_COUNT, Family};
use crate::guard::guarded;
use crate::seal::Seal;

type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A key, or a value, in its page.
type Guard = AccessGuard<'static, &'static [u8]>;

/// One consistent view of `state.redb`, shared by all reads until the next checkpoint: opening the tables
/// costs once a second, not once a read. It keeps the pages of its checkpoint alive, so the file carries
/// at most one old generation for it, and longer only for a snapshot that is being sent.
///
/// **Invariant:** all that is read of the file while the node runs is read here, and the first thing in it that cannot be read, or
/// contradicts itself, ends the storage. One page that is damaged may be a row that is gone, on top of which a twin would be made anew; and
/// what redb holds in memory after an error serves nobody any more. (A value that does not open is no more than that: its page is whole.)
pub(crate) struct Base {
    families: [Rows; FAMILY_COUNT],
    groups: ReadOnlyTable<u32, &'static [u8]>,
    seal: Option<Arc<Seal>>,
    failure: FailureFlag,
    /// Something of it could not be read.
    is_broken: AtomicBool,
}

impl Base {
    pub(crate) fn open(
        database: &Database,
        seal: Option<Arc<Seal>>,
        failure: FailureFlag,
    ) -> Result<Self, redb::Error> {
        let read = database.begin_read()?;
        let opened: Result<Vec<Rows>, redb::TableError> =
            Family::ALL.into_iter().map(|family| read.open_table(rows(family))).collect();
        let Ok(families) = opened?.try_into() else { unreachable!("as many tables as families") };
        Ok(Self { families, groups: read.open_table(GROUPS)?, seal, failure, is_broken: AtomicBool::new(false) })
    }

    /// Reads the file: what redb says of it, or panics with, ends the storage.
    fn read<T>(&self, work: impl FnOnce() -> Result<T, redb::StorageError>) -> Result<T, redb::StorageError> {
        if self.is_broken.load(Ordering::Relaxed) {
            return Err(redb::StorageError::Corrupted(
                "it could not be read before, and is not read any more".to_owned(),
            ));
        }
        guarded(work).map_err(|error: redb::StorageError| {
            self.is_broken.store(true, Ordering::Relaxed);
            let error = redb::Error::from(error);
            let failure = self.failure.set_error(DataFile::State, &error);
            redb::StorageError::Corrupted(failure.cause)
        })
    }

    pub(super) fn get(&self, family: Family, group: u32, key: &[u8]) -> Result<Option<Bytes>, redb::StorageError> {
        let key = row_key(group, key);
        let table = &self.families[family.at()];
        let row = self.read(|| Ok(table.get(key.as_slice())?.inspect(touch)))?;
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
    pub(super) fn range(self: &Arc<Self>, family: Family, from: &[u8]) -> Result<BaseRange, redb::StorageError> {
        let range = self.read(|| self.families[family.at()].range(from..))?;
        Ok(BaseRange { base: Arc::clone(self), range: Some(range) })
    }

    /// Rows of a family, of all groups.
    pub(super) fn count(&self, family: Family) -> Result<u64, redb::StorageError> {
        self.read(|| self.families[family.at()].len())
    }

    /// What the checkpoint covers of a group.
    pub(super) fn covered(&self, group: u32) -> Result<Covered, redb::Error> {
        let row = self.read(|| Ok(self.groups.get(group)?.map(|row| row.value().to_owned())))?;
        row.map_or_else(|| Ok(Covered::default()), |row| decode(&row))
    }
}

/// Looks at what is in the page, as what leads out of it is found only then.
fn touch(guard: &Guard) {
    let _ = guard.value();
}

/// Rows of a table, key (with its group) and value.
pub(super) struct BaseRange {
    base: Arc<Base>,
    /// Gone with the first error.
    range: Option<redb::Range<'static, &'static [u8], &'static [u8]>>,
}

impl Iterator for BaseRange {
    type Item = Result<(Guard, Guard), redb::StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let range = self.range.as_mut()?;
        let next = self.base.read(|| {
            range.next().transpose().map(|row| {
                row.inspect(|(key, value)| {
                    touch(key);
                    touch(value);
                })
            })
        });
        if next.is_err() {
            // Not dropped either: it may be half of what it was.
            std::mem::forget(self.range.take());
        }
        next.transpose()
    }
}
