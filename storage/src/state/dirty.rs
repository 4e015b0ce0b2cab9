//! Rows that are applied and not yet in the file.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use crate::entry::RowChange;
use crate::families::{FAMILY_COUNT, Family};
use crate::limits::DIRTY_ROW_OVERHEAD_BYTES;

/// One layer of dirty rows of a group, by family and key. `None` is a row that was deleted.
#[derive(Debug, Default)]
pub(super) struct DirtyRows {
    families: [BTreeMap<Bytes, Option<Bytes>>; FAMILY_COUNT],
    bytes: u64,
}

fn cost(key: &Bytes, value: Option<&Bytes>) -> u64 {
    (key.len() + value.map_or(0, Bytes::len)) as u64 + DIRTY_ROW_OVERHEAD_BYTES
}

impl DirtyRows {
    /// What the rows cost in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The row as changed; says by how much the cost rose, or fell.
    pub(super) fn put(&mut self, row: &RowChange) -> i64 {
        let added = cost(&row.key, row.value.as_ref());
        // Cloning shares the entry's buffers.
        let before = self.families[row.family.at()].insert(row.key.clone(), row.value.clone());
        let freed = before.map_or(0, |before| cost(&row.key, before.as_ref()));
        self.bytes = self.bytes + added - freed;
        added.cast_signed() - freed.cast_signed()
    }

    /// `None`: this layer says nothing of the row. `Some(None)`: it is deleted.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<&Option<Bytes>> {
        self.families[family.at()].get(key)
    }

    pub(super) fn family(&self, family: Family) -> &BTreeMap<Bytes, Option<Bytes>> {
        &self.families[family.at()]
    }

    /// Rows from `start` on that begin with `prefix`.
    pub(super) fn range<'a>(
        &'a self,
        family: Family,
        start: Bound<&'a [u8]>,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)> {
        self.families[family.at()]
            .range::<[u8], _>((start, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }
}
