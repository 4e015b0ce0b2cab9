//! Opening the file: finding what is in it, and where it ends.

use std::collections::BTreeMap;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use redb::{BackendError, StorageBackend};
use twin_waiting_file::WaitingFile;

use super::file::{Journal, Slot};
use super::frame::{self, Found, Kind, SECTOR_BYTES};
use super::header::{FoundHeader, Header, JOURNAL_VERSION, SLOTS_AT};
use super::place::Place;
use super::roots::Roots;
use crate::codec;
use crate::disk::Disk;
use crate::failure::DataFile;
use crate::limits::LOG_SLOT_BYTES_MAX;
use crate::open_error::{Lost, OpenError};
use crate::space::{FileRoom, Space};

/// How much is read at once where frames are looked for.
const LOOK_BYTES: u64 = 1024 * 1024;

/// What is known of each group, and where its entries are, from the first on.
pub(in crate::log) type Recovered = BTreeMap<u32, (Roots, Vec<Place>)>;

/// What was found in a file.
pub(in crate::log) struct Opened {
    pub(in crate::log) journal: Journal,
    pub(in crate::log) groups: Recovered,
    /// Bytes of a write that was not finished, behind the last frame.
    pub(in crate::log) unfinished_bytes: u64,
}

/// Why the file is not opened.
enum Refused {
    Io(io::Error),
    Damaged(String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Journal {
    /// Opens the file, or makes it with slots of this size, unless it was made before.
    pub(in crate::log) fn open(
        disk: &dyn Disk,
        space: &Arc<Space>,
        slot_bytes: u64,
        was_made: bool,
    ) -> Result<Opened, OpenError> {
        let path = || disk.path(DataFile::Journal);
        let io = |cause: io::Error| match cause.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse { path: path() },
            _ => OpenError::Io { path: path(), cause },
        };
        let backend = disk.open(DataFile::Journal).map_err(io)?;
        let file = Arc::new(WaitingFile::new(backend, FileRoom::new(DataFile::Journal, Arc::clone(space))));
        lock(&*file).map_err(io)?;
        let mut header = match Header::read(&*file).map_err(io)? {
            FoundHeader::Whole(header) => header,
            FoundHeader::Nothing if was_made => {
                let how = if path().exists() { Lost::Empty } else { Lost::Gone };
                return Err(OpenError::Lost { lost: path(), how, left: disk.path(DataFile::Log) });
            }
            FoundHeader::Nothing => Header { opening: 0, slot_bytes, slots: 0, node: None },
            FoundHeader::Newer(found) => return Err(OpenError::Newer { path: path(), found, reads: JOURNAL_VERSION }),
            FoundHeader::Foreign => {
                return Err(OpenError::Foreign {
                    path: path(),
                    cause: "it does not begin as a journal does".to_owned(),
                });
            }
            FoundHeader::Damaged => {
                return Err(OpenError::Damaged { path: path(), cause: "both copies of its header are".to_owned() });
            }
        };
        let is_new = header.opening == 0;
        let recovered = recover(Arc::clone(&file), header.clone());
        let mut opened = recovered.map_err(|refused| match refused {
            Refused::Io(cause) => OpenError::Io { path: path(), cause },
            Refused::Damaged(cause) => OpenError::Damaged { path: path(), cause },
        })?;
        // **Invariant:** the number of an opening is durable before its first frame is written.
        header.opening += 1;
        header.write(&*file).map_err(io)?;
        opened.journal.header = header;
        // What was found may have been in memory alone, as after a kill. That write took it to the disk.
        opened.journal.is_durable();
        // What copied or restored the file may have left holes in it. Where they cannot be filled now, a write into one waits for room.
        let len = file.len().map_err(io)?;
        file.set_len_if_it_fits(len).map_err(io)?;
        if is_new {
            disk.put_in_place(DataFile::Journal).map_err(io)?;
        }
        if opened.unfinished_bytes > 0 {
            tracing::warn!(
                file = %path().display(),
                bytes = opened.unfinished_bytes,
                "the log ends with a write that was not finished, which is dropped: usual after a power cut; after anything else the file \
                 was damaged, and what was acknowledged last may be missing"
            );
        }
        Ok(opened)
    }
}

/// For this process alone.
fn lock(file: &dyn StorageBackend) -> io::Result<()> {
    match file.try_lock_range(Bound::Included(0), Bound::Unbounded) {
        // Where there are no locks redb does without as well.
        Ok(true) | Err(BackendError::Unsupported) => Ok(()),
        Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
        Err(BackendError::Io(error)) => Err(error),
        Err(other) => Err(io::Error::other(other)),
    }
}

/// Frames of a slot, one behind the other.
struct Walk<'a> {
    file: &'a dyn StorageBackend,
    sequence: u64,
    /// Openings of frames do not pass this.
    opening_max: u64,
    at: u64,
    /// End of the slot.
    end: u64,
    /// Of the frame before.
    last: Option<frame::Head>,
}

impl Walk<'_> {
    /// The next frame, where it is; `None`: it is not there, or not whole.
    fn next(&mut self, looks_inside: bool) -> io::Result<Option<(u64, Found)>> {
        let at = self.at;
        let Some(found) = frame::read(self.file, at, self.end)? else { return Ok(None) };
        let follows = match &self.last {
            Some(last) => found.head.number == last.number + 1 && found.head.opening >= last.opening,
            None => found.items.first().is_some_and(|item| item.kind == Kind::Begin),
        };
        let is_ours = found.head.sequence == self.sequence && found.head.opening <= self.opening_max;
        if !follows || !is_ours || looks_inside && !found.is_whole(self.file, at)? {
            return Ok(None);
        }
        self.at += found.file_bytes;
        self.last = Some(found.head);
        Ok(Some((at, found)))
    }
}

fn recover(file: Arc<WaitingFile<FileRoom>>, header: Header) -> Result<Opened, Refused> {
    let len = file.len()?;
    let slot_bytes = 1..=LOG_SLOT_BYTES_MAX;
    if !slot_bytes.contains(&header.slot_bytes) || !header.slot_bytes.is_multiple_of(SECTOR_BYTES) {
        return Err(Refused::Damaged(format!("it has slots of {} bytes", header.slot_bytes)));
    }
    // **Invariant:** the file is never shorter than its header says, as it grew durably before that was written.
    let len_min = header.slots.saturating_mul(header.slot_bytes).saturating_add(SLOTS_AT);
    if header.opening > 0 && len < len_min {
        return Err(Refused::Damaged(format!("it is cut short: of {len_min} bytes there are {len}")));
    }
    let count = len.saturating_sub(SLOTS_AT).div_ceil(header.slot_bytes) as usize;
    let walk = |slot: usize, sequence: u64| {
        let at = SLOTS_AT + slot as u64 * header.slot_bytes;
        let end = (at + header.slot_bytes).min(len);
        Walk { file: &*file, sequence, opening_max: header.opening, at, end, last: None }
    };
    // In the order in which they were begun.
    let mut begun: Vec<(u64, usize)> = Vec::new();
    for slot in 0..count {
        let at = SLOTS_AT + slot as u64 * header.slot_bytes;
        let Some(first) = frame::read(&*file, at, (at + header.slot_bytes).min(len))? else { continue };
        if first.head.sequence > 0 && walk(slot, first.head.sequence).next(true)?.is_some() {
            begun.push((first.head.sequence, slot));
        }
    }
    begun.sort_unstable();
    if begun.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(Refused::Damaged("two of its slots say that they are the same".to_owned()));
    }
    let mut slots = vec![Slot::default(); count];
    for (sequence, slot) in &begun {
        slots[*slot].sequence = *sequence;
    }
    let unbegun: Vec<usize> = (0..count).filter(|slot| slots[*slot].sequence == 0).collect();
    // One that was being made when the last life ended has nothing in it, and maybe no room on the disk: it is made anew.
    let made = header.slots as usize;
    while slots.len() > made && slots.last().is_some_and(|slot| slot.sequence == 0) {
        slots.pop();
    }
    let (current, keeps_spare, file_of) = (None, false, Arc::clone(&file));
    let header_of = header.clone();
    let (end, last, durable, durable_told) = (0, 0, 0, Arc::default());
    let mut journal =
        Journal { file: file_of, header: header_of, slots, current, end, last, durable, durable_told, keeps_spare };
    // Slots whose beginning is not whole: torn, or damaged?
    let look_into_others = |sequence: u64, last: u64| {
        unbegun
            .iter()
            .map(|slot| walk(*slot, 0))
            .try_for_each(|other| look(&*file, other.at..other.end, sequence + 1.., last))
    };
    let Some((newest, older)) = begun.split_last() else {
        look_into_others(0, 0)?;
        let unfinished_bytes = if count == 0 { 0 } else { unfinished(&*file, &walk(0, 1), true)? };
        return Ok(Opened { journal, groups: Recovered::new(), unfinished_bytes });
    };

    // Entries of the slots before: which of them count, the newest one says. A later one takes an earlier one's place.
    let mut places: BTreeMap<u32, BTreeMap<u64, Place>> = BTreeMap::new();
    for (sequence, slot) in older {
        let mut walk = walk(*slot, *sequence);
        while let Some((at, found)) = walk.next(false)? {
            for item in found.items.iter().filter(|item| item.kind == Kind::Entry) {
                places.entry(item.group).or_default().insert(item.index, item.place(at));
            }
        }
    }

    let of_slot = &walk;
    let mut walk = of_slot(newest.1, newest.0);
    let mut roots: BTreeMap<u32, Roots> = BTreeMap::new();
    while let Some((at, found)) = walk.next(true)? {
        for item in &found.items {
            let said = item.place(at);
            let damaged = |error| Refused::Damaged(format!("a record of its frame {} ({error})", found.head.number));
            if item.kind == Kind::Begin {
                roots = codec::decode(&said.read(&*file)?).map_err(damaged)?;
                if let Some((group, _)) = roots.iter().find(|(_, roots)| roots.first > roots.next) {
                    return Err(Refused::Damaged(format!("group {group} ends before it begins")));
                }
                for (group, places) in &mut places {
                    let range = roots.get(group).map_or(0..0, |roots| roots.first..roots.next);
                    places.retain(|index, _| range.contains(index));
                }
                continue;
            }
            let payload = if item.kind == Kind::Entry { Vec::new() } else { said.read(&*file)? };
            roots.entry(item.group).or_default().apply(item.kind, item.index, &payload).map_err(damaged)?;
            let places = places.entry(item.group).or_default();
            match item.kind {
                Kind::Entry => drop(places.insert(item.index, said)),
                Kind::Truncated => drop(places.split_off(&item.index)),
                _ => {}
            }
        }
    }
    let Some(last) = walk.last else { return Err(Refused::Damaged("a slot changed while it was read".to_owned())) };
    (journal.current, journal.end) = (Some(newest.1), walk.at);
    journal.last = last.number;
    look(&*file, walk.at..walk.end, newest.0..=newest.0, last.number)?;
    look_into_others(newest.0, last.number)?;
    // Slots are begun in order until the first is begun again: up to there, what is not zero behind the end is of this round.
    let is_first_round = newest.0 == newest.1 as u64 + 1;
    let mut unfinished_bytes = unfinished(&*file, &walk, is_first_round)?;
    // Or it was the beginning of another slot.
    for slot in unbegun {
        let other = Walk { last: walk.last, ..of_slot(slot, newest.0 + 1) };
        unfinished_bytes += unfinished(&*file, &other, is_first_round)?;
    }

    let mut recovered = Recovered::new();
    for (group, roots) in roots {
        let mut of_group = places.remove(&group).unwrap_or_default();
        of_group.retain(|index, _| (roots.first..roots.next).contains(index));
        let wanted = roots.next - roots.first;
        if of_group.len() as u64 != wanted {
            let missing = (roots.first..roots.next).find(|index| !of_group.contains_key(index)).unwrap_or_default();
            return Err(Refused::Damaged(format!("entry {missing} of group {group} is not in it")));
        }
        let places: Vec<Place> = of_group.into_values().collect();
        for place in &places {
            journal.hold(place);
        }
        recovered.insert(group, (roots, places));
    }
    Ok(Opened { journal, groups: recovered, unfinished_bytes })
}

/// Bytes of a write behind the last frame that is whole, which are to be dropped: as many as the frame that begins there says that it
/// has, if it is the one that comes next. Where `rest_is_zero` unless something was written, all up to the last byte that is not.
///
/// Otherwise a write whose first sector is missing cannot be told from what an earlier round left there, and is not counted.
fn unfinished(file: &dyn StorageBackend, behind: &Walk<'_>, rest_is_zero: bool) -> io::Result<u64> {
    if rest_is_zero {
        let (mut at, mut end) = (behind.at, behind.at);
        while at < behind.end {
            let mut bytes = vec![0; LOOK_BYTES.min(behind.end - at) as usize];
            file.read(at, &mut bytes)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += bytes.len() as u64;
        }
        return Ok(end - behind.at);
    }
    let number = behind.last.map_or(1, |last| last.number + 1);
    frame::claimed(file, behind.at, behind.end, behind.sequence, number)
}

/// Is there a frame of such a slot that could only be written when what is missing, behind the `last` one, was durable?
fn look(
    file: &dyn StorageBackend,
    part: Range<u64>,
    sequences: impl RangeBounds<u64>,
    last: u64,
) -> Result<(), Refused> {
    let Range { start: mut at, end } = part;
    while at < end {
        let mut bytes = vec![0; LOOK_BYTES.min(end - at) as usize];
        file.read(at, &mut bytes)?;
        for sector in (0..bytes.len()).step_by(SECTOR_BYTES as usize) {
            if !frame::begins_like_one(&bytes[sector..]) {
                continue;
            }
            let found = frame::read(file, at + sector as u64, end)?;
            let tells = |found: &Found| sequences.contains(&found.head.sequence) && found.head.durable > last;
            if let Some(found) = found.filter(tells) {
                let (missing, number) = (last + 1, found.head.number);
                return Err(Refused::Damaged(format!(
                    "its frame {missing} is, which was durable before frame {number}"
                )));
            }
        }
        at += bytes.len() as u64;
    }
    Ok(())
}
