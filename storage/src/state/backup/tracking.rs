//! Which rows changed behind the reading of a backup.

use std::collections::BTreeSet;

use twin_core::numbers::CellId;

use super::BackupError;
use crate::families::Family;
use crate::limits::{BACKUP_CHANGED_BYTES_MAX, BACKUP_CHANGED_ROW_OVERHEAD_BYTES};
use crate::state::dirty::DirtyRows;

/// A row of the group under way.
pub(super) type RowName = (Family, Box<[u8]>);

/// How far the group under way was read.
#[derive(Debug, Default)]
pub(super) enum Read {
    /// Nothing of it: whatever changes will be read yet.
    #[default]
    Nothing,
    /// Up to this row, which is included.
    UpTo(RowName),
    /// All of it.
    All,
}

/// What the checkpointer notes for a backup.
///
/// **Invariant:** it notes under the same lock under which the reading takes a checkpoint's view and says how far it came, and before
/// that view is replaced. So a row that a checkpoint replaces was either read before, and is noted, or is read from that checkpoint or a
/// later one.
#[derive(Debug, Default)]
pub(crate) struct Tracking {
    group: Option<CellId>,
    read: Read,
    changed: BTreeSet<RowName>,
    changed_bytes: u64,
    broken: Option<Broken>,
}

/// Why a backup cannot go on.
#[derive(Clone, Copy, Debug)]
enum Broken {
    Overtaken,
    Replaced(CellId),
}

fn weight(name: &RowName) -> u64 {
    name.1.len() as u64 + BACKUP_CHANGED_ROW_OVERHEAD_BYTES
}

impl Tracking {
    /// Rows of this group are read from here on; those of groups before it no more.
    pub(super) fn begin(&mut self, group: CellId) {
        *self = Self { group: Some(group), broken: self.broken, ..Self::default() };
    }

    /// The group's point is fixed.
    pub(super) fn end(&mut self) {
        *self = Self { broken: self.broken, ..Self::default() };
    }

    /// How far the reading came.
    pub(super) fn read_to(&mut self, read: Read) {
        self.read = read;
    }

    pub(super) fn read(&self) -> &Read {
        &self.read
    }

    /// Can the backup go on?
    pub(super) fn check(&self) -> Result<(), BackupError> {
        match self.broken {
            None => Ok(()),
            Some(Broken::Overtaken) => Err(BackupError::Overtaken),
            Some(Broken::Replaced(group)) => Err(BackupError::Replaced(group)),
        }
    }

    /// A checkpoint that is about to be published replaces these rows.
    pub(in crate::state) fn note(&mut self, group: CellId, rows: &DirtyRows) {
        if self.group != Some(group) || self.broken.is_some() {
            return;
        }
        for (family, key) in rows.keys() {
            let was_read = match &self.read {
                Read::Nothing => false,
                Read::UpTo((read, last)) => (family, key.as_ref()) <= (*read, last.as_ref()),
                Read::All => true,
            };
            if was_read {
                self.insert((family, key.as_ref().into()));
            }
        }
        if self.changed_bytes > BACKUP_CHANGED_BYTES_MAX {
            self.overtaken();
        }
    }

    /// All rows of a group were replaced at once: no backup of it can go on.
    pub(in crate::state) fn replaced(&mut self, group: CellId) {
        if self.group == Some(group) {
            self.broken = Some(Broken::Replaced(group));
            self.changed.clear();
        }
    }

    /// Changes come faster than they are taken.
    pub(super) fn overtaken(&mut self) {
        self.broken = Some(Broken::Overtaken);
        self.changed.clear();
        self.changed_bytes = 0;
    }

    pub(super) fn insert(&mut self, name: RowName) {
        let weight = weight(&name);
        if self.changed.insert(name) {
            self.changed_bytes += weight;
        }
    }

    /// What the names take.
    pub(super) fn changed_bytes(&self) -> u64 {
        self.changed_bytes
    }

    /// The next rows that changed, at most `count`, in key order.
    pub(super) fn take(&mut self, count: usize) -> Vec<RowName> {
        let taken: Vec<RowName> = std::iter::from_fn(|| self.changed.pop_first()).take(count).collect();
        self.changed_bytes -= taken.iter().map(weight).sum::<u64>();
        taken
    }

    /// Has none changed?
    pub(super) fn is_unchanged(&self) -> bool {
        self.changed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::entry::RowChange;
    use crate::state::dirty::Buffers;

    const GROUP: CellId = CellId::new(3);

    fn dirty(keys: impl IntoIterator<Item = (Family, String)>) -> DirtyRows {
        let mut rows = DirtyRows::default();
        for (family, key) in keys {
            let _ = rows.put(&RowChange::delete(family, Bytes::from(key)), Buffers::OfRows);
        }
        rows
    }

    #[test]
    fn only_what_was_read_before_is_noted() {
        let mut tracking = Tracking::default();
        let rows = || {
            dirty(
                ["a", "m", "z"].into_iter().flat_map(|key| [(Family::TwinHot, key.into()), (Family::Home, key.into())]),
            )
        };
        tracking.begin(GROUP);
        tracking.note(GROUP, &rows());
        assert!(tracking.is_unchanged(), "all of it will be read yet");
        tracking.read_to(Read::UpTo((Family::Home, b"m".as_slice().into())));
        tracking.note(CellId::new(4), &rows());
        assert!(tracking.is_unchanged(), "another group");
        tracking.note(GROUP, &rows());
        let noted: Vec<_> = tracking.take(100).into_iter().map(|(family, key)| (family, key[0])).collect();
        let (hot, home) = (Family::TwinHot, Family::Home);
        assert_eq!(noted, [(hot, b'a'), (hot, b'm'), (hot, b'z'), (home, b'a'), (home, b'm')]);
        assert_eq!(tracking.changed_bytes(), 0);
        tracking.end();
        tracking.note(GROUP, &rows());
        assert!(tracking.is_unchanged(), "its point is fixed");
    }

    #[test]
    fn more_names_than_the_bound_end_the_backup_and_take_no_memory() {
        let mut tracking = Tracking::default();
        tracking.begin(GROUP);
        tracking.read_to(Read::All);
        let rows = BACKUP_CHANGED_BYTES_MAX / (200 + BACKUP_CHANGED_ROW_OVERHEAD_BYTES) + 1;
        tracking.note(GROUP, &dirty((0..rows).map(|n| (Family::TwinHot, format!("{n:0200}")))));
        assert!(matches!(tracking.check(), Err(BackupError::Overtaken)));
        assert!(tracking.is_unchanged() && tracking.changed_bytes() == 0);
        // Also for the groups that are left.
        tracking.begin(CellId::new(0));
        assert!(tracking.check().is_err());
    }

    #[test]
    fn a_group_that_is_replaced_ends_the_backup() {
        let mut tracking = Tracking::default();
        tracking.begin(GROUP);
        tracking.replaced(CellId::new(9));
        assert!(tracking.check().is_ok());
        tracking.replaced(GROUP);
        assert!(matches!(tracking.check(), Err(BackupError::Replaced(GROUP))));
    }
}
