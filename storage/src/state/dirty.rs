//! Rows that are applied and not yet in the file.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use bytes::Bytes;
use foldhash::quality::RandomState;

use crate::entry::RowChange;
use crate::families::{FAMILY_COUNT, Family};
use crate::limits::DIRTY_ROW_OVERHEAD_BYTES;

/// A row in the layer: its key, and its value unless it was deleted.
pub(super) type DirtyRow<'a> = (&'a Bytes, &'a Option<Bytes>);

/// One layer of dirty rows of a group, by family and key. `None` is a row that was deleted.
///
/// Hot rows, which every report writes and nobody lists, are hashed and put in order once, for the checkpoint; the other
/// families are kept in order. The hash is keyed, as ids come from outside.
#[derive(Debug, Default)]
pub(super) struct DirtyRows {
    hot: HashMap<Bytes, Option<Bytes>, RandomState>,
    others: [BTreeMap<Bytes, Option<Bytes>>; FAMILY_COUNT],
    bytes: u64,
}

/// Whose buffers an entry's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// Each row's own: they are shared.
    OfRows,
    /// One for all of the entry, as it was read back: what is kept is copied, so that a row does not hold its whole entry.
    OfEntry,
}

impl Buffers {
    fn keep(self, bytes: &Bytes) -> Bytes {
        match self {
            Self::OfRows => bytes.clone(),
            Self::OfEntry => Bytes::copy_from_slice(bytes),
        }
    }
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
    pub(super) fn put(&mut self, row: &RowChange, buffers: Buffers) -> i64 {
        let added = cost(&row.key, row.value.as_ref());
        let value = row.value.as_ref().map(|value| buffers.keep(value));
        // The key that is there stays: it is not touched if it need not be.
        let before = match row.family {
            Family::TwinHot => match self.hot.get_mut(&row.key) {
                Some(there) => Some(std::mem::replace(there, value)),
                None => self.hot.insert(buffers.keep(&row.key), value),
            },
            family => self.others[family.at()].insert(buffers.keep(&row.key), value),
        };
        let freed = before.map_or(0, |before| cost(&row.key, before.as_ref()));
        self.bytes = self.bytes + added - freed;
        added.cast_signed() - freed.cast_signed()
    }

    /// `None`: this layer says nothing of the row. `Some(None)`: it is deleted.
    pub(super) fn get(&self, family: Family, key: &[u8]) -> Option<&Option<Bytes>> {
        match family {
            Family::TwinHot => self.hot.get(key),
            family => self.others[family.at()].get(key),
        }
    }

    /// Has the family no dirty row?
    pub(super) fn is_empty(&self, family: Family) -> bool {
        match family {
            Family::TwinHot => self.hot.is_empty(),
            family => self.others[family.at()].is_empty(),
        }
    }

    /// Which rows there are, in no order.
    pub(super) fn keys(&self) -> impl Iterator<Item = (Family, &Bytes)> {
        let others =
            Family::ALL.into_iter().flat_map(|family| self.others[family.at()].keys().map(move |key| (family, key)));
        self.hot.keys().map(|key| (Family::TwinHot, key)).chain(others)
    }

    /// The family's rows, in key order.
    pub(super) fn in_order(&self, family: Family) -> Box<dyn Iterator<Item = DirtyRow<'_>> + '_> {
        match family {
            Family::TwinHot => {
                let mut rows: Vec<_> = self.hot.iter().collect();
                rows.sort_unstable_by_key(|(key, _)| *key);
                Box::new(rows.into_iter())
            }
            family => Box::new(self.others[family.at()].iter()),
        }
    }

    /// Rows from `start` on that begin with `prefix`, in key order.
    pub(super) fn range<'a>(
        &'a self,
        family: Family,
        start: Bound<&'a [u8]>,
        prefix: &'a [u8],
    ) -> Box<dyn Iterator<Item = DirtyRow<'a>> + 'a> {
        let from: Box<dyn Iterator<Item = DirtyRow<'a>>> = match family {
            Family::TwinHot => Box::new(self.in_order(family).skip_while(move |(key, _)| match start {
                Bound::Included(start) => &key[..] < start,
                Bound::Excluded(start) => &key[..] <= start,
                Bound::Unbounded => false,
            })),
            family => Box::new(self.others[family.at()].range::<[u8], _>((start, Bound::Unbounded))),
        };
        Box::new(from.take_while(move |(key, _)| key.starts_with(prefix)))
    }
}
