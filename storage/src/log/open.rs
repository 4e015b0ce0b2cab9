//! Opening the log: the journal, and where it began.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::Database;

use super::journal::{Journal, Opened, Place, Roots};
use super::record;
use super::tables;
use crate::consensus::LogId;
use crate::disk::Disk;
use crate::failure::DataFile;
use crate::guard::guarded;
use crate::limits::LOG_SLOT_BYTES;
use crate::open_error::{Lost, OpenError};
use crate::seal::Seal;
use crate::space::Space;

/// What the disk holds of one group's log.
#[derive(Debug, Default)]
pub(crate) struct StoredGroup {
    pub(super) roots: Roots,
    /// Of the last entry; the purged one if there is none.
    pub(super) last: Option<LogId>,
    /// Where the entries are, from the first on.
    pub(super) places: Vec<Place>,
}

impl StoredGroup {
    /// Up to where it is purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.roots.purged
    }

    /// Bytes of all entries on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.places.iter().map(|place| u64::from(place.bytes)).sum()
    }
}

/// What [`open_journal`] found.
pub(crate) struct OpenedLog {
    pub(crate) journal: Journal,
    pub(crate) groups: BTreeMap<u32, StoredGroup>,
    /// Bytes of a write that was not finished, at the end.
    pub(crate) unfinished_bytes: u64,
}

/// Opens the journal, or makes it, and reads what there is of each group. `database` is `log.redb`.
pub(crate) fn open_journal(
    database: &Database,
    disk: &dyn Disk,
    space: &Arc<Space>,
    slot_bytes: u64,
) -> Result<OpenedLog, OpenError> {
    let damaged = |error: redb::Error| OpenError::of_redb(disk.path(DataFile::Log), error);
    let was_made = guarded(|| tables::has_journal(database)).map_err(damaged)?;
    let Opened { journal, groups: mut recovered, unfinished_bytes } = Journal::open(disk, space, slot_bytes, was_made)?;
    if journal.has_begun() && !was_made {
        let (lost, left) = (disk.path(DataFile::Log), disk.path(DataFile::Journal));
        return Err(OpenError::Lost { lost, how: Lost::New, left });
    }
    if !was_made {
        tables::journal_made(database).map_err(damaged)?;
    }
    // The first slot takes over what a restore wrote.
    for (group, roots) in guarded(|| tables::founding(database)).map_err(damaged)? {
        recovered.entry(group).or_insert((roots, Vec::new()));
    }
    let stored = |(group, (roots, places)): (u32, (Roots, Vec<Place>))| {
        let last = roots.purged;
        (group, StoredGroup { roots, last, places })
    };
    Ok(OpenedLog { journal, groups: recovered.into_iter().map(stored).collect(), unfinished_bytes })
}

/// What a start finds in a journal of which `log.redb` says that it was made: of each group, the index of the first entry and that behind
/// the last. Each entry is read. For the fuzz targets.
#[doc(hidden)]
pub fn recovered_entries(disk: &Arc<dyn Disk>) -> Result<Vec<(u32, u64, u64)>, OpenError> {
    let space = Arc::new(Space::new(Arc::clone(disk), Arc::default(), 0));
    let Opened { journal, groups, .. } = Journal::open(&**disk, &space, LOG_SLOT_BYTES, true)?;
    let mut ranges = Vec::new();
    for (number, (roots, places)) in groups {
        for (index, place) in (roots.first..roots.next).zip(places) {
            let _any = place.read(&*journal.reader()).and_then(|bytes| record::read(None, number, index, bytes));
        }
        ranges.push((number, roots.first, roots.next));
    }
    Ok(ranges)
}

/// Reads the id of each group's last entry.
pub(crate) fn read_last(
    journal: &Journal,
    disk: &dyn Disk,
    seal: Option<&Seal>,
    stored: &mut BTreeMap<u32, StoredGroup>,
) -> Result<(), OpenError> {
    for (number, group) in stored {
        let Some(place) = group.places.last() else { continue };
        let index = group.roots.next - 1;
        let entry = place
            .read(&*journal.reader())
            .and_then(|bytes| record::read(seal, *number, index, bytes))
            .map_err(|error| OpenError::Damaged { path: disk.path(DataFile::Journal), cause: error.to_string() })?;
        group.last = group.roots.purged.max(Some(entry.log_id));
    }
    Ok(())
}
