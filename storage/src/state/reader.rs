//! Reads: {active, frozen, file} as one snapshot, at an entry boundary.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use twin_core::numbers::CellId;

use super::base::Base;
use super::dirty::DirtyRows;
use super::group::{GroupState, StateShared};
use super::merge::{LayerRow, Merge};
use super::tables::row_key;
use crate::consensus::LogId;
use crate::entry::ChainLink;
use crate::failure::RESTORE_A_BACKUP;
use crate::families::Family;
use crate::limits::{SCAN_BYTES_MAX, SCAN_ROWS_MAX};

/// A read failed. It says nothing about the row.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// This node has no such group open.
    #[error("group {0} is not open on this node: ask the node that holds it")]
    NoGroup(CellId),
    /// The file could not be read, or the storage is shut down.
    #[error("state.redb cannot be read: {0}; check the disk, or {RESTORE_A_BACKUP}")]
    File(#[from] redb::StorageError),
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        Self::other(error)
    }
}

/// A page of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Keys and values, in key order.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Whether the page ended at a bound: go on after its last key.
    pub more: bool,
}

/// Reads rows of any group of the node. Cheap to clone.
#[derive(Clone)]
pub struct StateReader {
    shared: Arc<StateShared>,
}

impl fmt::Debug for StateReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateReader").finish_non_exhaustive()
    }
}

impl StateReader {
    pub(crate) fn new(shared: Arc<StateShared>) -> Self {
        Self { shared }
    }

    /// A reader of one group, which saves finding it at each read.
    pub fn group(&self, cell: CellId) -> Result<GroupReader, ReadError> {
        let group = self.shared.group(cell).ok_or(ReadError::NoGroup(cell))?;
        Ok(GroupReader { group, shared: Arc::clone(&self.shared) })
    }

    /// See [`GroupReader::get`].
    pub fn get(&self, cell: CellId, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.group(cell)?.get(family, key)
    }

    /// See [`GroupReader::get_many`].
    pub fn get_many<K: AsRef<[u8]>>(
        &self,
        cell: CellId,
        keys: &[(Family, K)],
    ) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.group(cell)?.get_many(keys)
    }

    /// See [`GroupReader::scan`].
    pub fn scan(
        &self,
        cell: CellId,
        family: Family,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Scan, ReadError> {
        self.group(cell)?.scan(family, prefix, after, limit)
    }

    /// See [`GroupReader::applied`].
    pub fn applied(&self, cell: CellId) -> Result<Option<LogId>, ReadError> {
        Ok(self.group(cell)?.applied())
    }
}

/// Reads rows of one group. Cheap to clone. A read may touch the disk: what is dirty is in memory, the
/// rest is in redb's cache or behind it.
#[derive(Clone)]
pub struct GroupReader {
    group: Arc<GroupState>,
    shared: Arc<StateShared>,
}

impl fmt::Debug for GroupReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupReader").field("cell", &self.group.cell).finish_non_exhaustive()
    }
}

impl GroupReader {
    /// The row's value, if there is one.
    pub fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let base = {
            let view = self.group.view.read();
            let dirty = view.active.get(family, key).or_else(|| view.frozen.as_ref()?.get(family, key));
            match dirty {
                Some(value) => return Ok(value.clone()),
                None => Arc::clone(&self.shared.base.read()),
            }
        };
        Ok(base.get(family, self.group.cell.get(), key)?)
    }

    /// The values of many rows, all of one snapshot, in the order of the keys.
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[(Family, K)]) -> Result<Vec<Option<Bytes>>, ReadError> {
        // Under the lock, the dirty layers, for all keys at once; the file afterwards, for the others.
        let (dirty, base) = {
            let view = self.group.view.read();
            let look_up = |(family, key): &(Family, K)| {
                let key = key.as_ref();
                view.active.get(*family, key).or_else(|| view.frozen.as_ref()?.get(*family, key)).cloned()
            };
            let dirty: Vec<_> = keys.iter().map(look_up).collect();
            (dirty, Arc::clone(&self.shared.base.read()))
        };
        let number = self.group.cell.get();
        dirty
            .into_iter()
            .zip(keys)
            .map(|(dirty, (family, key))| match dirty {
                Some(value) => Ok(value),
                None => Ok(base.get(*family, number, key.as_ref())?),
            })
            .collect()
    }

    /// Rows whose keys begin with `prefix` and come after `after`, in key order, at most `limit` (and
    /// never more than [`SCAN_ROWS_MAX`] rows or about [`SCAN_BYTES_MAX`] bytes).
    pub fn scan(&self, family: Family, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Scan, ReadError> {
        let limit = limit.min(SCAN_ROWS_MAX);
        if limit == 0 {
            return Ok(Scan { rows: Vec::new(), more: true });
        }
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let (active, frozen, base) = self.layers(family, prefix, start, limit + 1);
        let number = self.group.cell.get();
        let frozen_rows: Box<dyn Iterator<Item = Result<LayerRow, ReadError>>> = match &frozen {
            Some(frozen) => {
                Box::new(frozen.range(family, start, prefix).map(|(key, value)| Ok((key.clone(), value.clone()))))
            }
            None => Box::new(std::iter::empty()),
        };
        let base_rows = base_rows(&base, family, number, prefix, start)?;
        let active_rows = Box::new(active.into_iter().map(Ok));
        let mut scan = Scan::default();
        let mut bytes = 0;
        for row in Merge::new(vec![active_rows, frozen_rows, base_rows])? {
            if scan.rows.len() == limit || bytes >= SCAN_BYTES_MAX {
                scan.more = true;
                break;
            }
            let (key, value) = row?;
            bytes += key.len() + value.len();
            scan.rows.push((key, value));
        }
        Ok(scan)
    }

    /// The layers, as one snapshot. Of the active one, a copy of just what a scan of `live_max` rows can
    /// need: no row of the result lies behind that many live active rows.
    fn layers(
        &self,
        family: Family,
        prefix: &[u8],
        start: Bound<&[u8]>,
        live_max: usize,
    ) -> (Vec<LayerRow>, Option<Arc<DirtyRows>>, Arc<Base>) {
        let view = self.group.view.read();
        let mut active = Vec::new();
        let mut live = 0;
        for (key, value) in view.active.range(family, start, prefix) {
            active.push((key.clone(), value.clone()));
            live += usize::from(value.is_some());
            if live == live_max {
                break;
            }
        }
        (active, view.frozen.clone(), Arc::clone(&self.shared.base.read()))
    }

    /// The last entry that is applied to what this reads.
    pub fn applied(&self) -> Option<LogId> {
        self.group.view.read().covered.applied
    }

    /// The last link of the chain that was applied.
    pub fn chain(&self) -> ChainLink {
        self.group.view.read().covered.chain
    }
}

fn base_rows<'a>(
    base: &'a Arc<Base>,
    family: Family,
    group: u32,
    prefix: &'a [u8],
    start: Bound<&[u8]>,
) -> Result<Box<dyn Iterator<Item = Result<LayerRow, ReadError>> + 'a>, ReadError> {
    let (from, skip) = match start {
        Bound::Excluded(after) => (row_key(group, after), Some(after.to_vec())),
        Bound::Included(from) => (row_key(group, from), None),
        Bound::Unbounded => (row_key(group, &[]), None),
    };
    let whole_prefix = row_key(group, prefix);
    let rows = base
        .range(family, &from)?
        .map(move |row| {
            let (key, value) = row?;
            let value = base.value(family, key.value(), value.value())?.into_owned();
            Ok((Bytes::copy_from_slice(key.value()), Some(value.into())))
        })
        .take_while(move |row: &Result<LayerRow, ReadError>| match row {
            Ok((key, _)) => key.starts_with(&whole_prefix),
            Err(_) => true,
        })
        .map(|row| row.map(|(key, value)| (key.slice(4..), value)))
        .filter(move |row| !matches!((row, &skip), (Ok((key, _)), Some(skip)) if key == skip));
    Ok(Box::new(rows))
}
