//! One group's log as its openraft sees it: votes and ids in memory, the newest entries in memory, the
//! rest in the journal.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::StorageBackend;
use twin_core::numbers::CellId;

use super::journal::Place;
use super::open::StoredGroup;
use super::record;
use crate::consensus::{Entry, LogId, Vote};
use crate::limits::LOG_TAIL_BYTES_MAX;
use crate::seal::Seal;
use crate::stats::StorageStats;

/// The journal's file, to read from; `None` once the storage is shut down.
pub(crate) type SharedFile = Arc<RwLock<Option<Arc<dyn StorageBackend>>>>;

/// One group's log in memory. Shared by its store, its readers and the commands in flight.
pub(crate) struct GroupLog {
    pub(crate) cell: CellId,
    view: Mutex<View>,
    /// Where the durable entries are. Only the log thread changes it, behind the view.
    places: Mutex<Places>,
    /// Number of the last append that is durable.
    flushed_seq: AtomicU64,
    /// Index after that of the group's durable checkpoint; 0 without one. Set by the checkpointer.
    checkpointed: Arc<AtomicU64>,
    file: SharedFile,
    seal: Option<Arc<Seal>>,
    stats: Arc<StorageStats>,
}

/// Where entries are, gapless.
#[derive(Default)]
struct Places {
    first: u64,
    places: VecDeque<Place>,
}

/// What the log is, for openraft, at this moment; the disk follows in rounds.
pub(super) struct View {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Index of the first entry, if there are any. Behind the purged id, except in a log that never had
    /// its beginning.
    first: u64,
    /// The newest entries, gapless up to `last`. Older ones are on disk.
    tail: VecDeque<TailEntry>,
    tail_bytes: u64,
    last_seq: u64,
    /// How often entries were taken away, at either end.
    taken_away: u64,
}

struct TailEntry {
    entry: Entry,
    bytes: u64,
    seq: u64,
}

impl GroupLog {
    pub(crate) fn new(
        cell: CellId,
        stored: &StoredGroup,
        checkpointed: Arc<AtomicU64>,
        file: SharedFile,
        seal: Option<Arc<Seal>>,
        stats: Arc<StorageStats>,
    ) -> Self {
        let view = View {
            vote: stored.roots.vote,
            committed: stored.roots.committed,
            purged: stored.roots.purged,
            last: stored.last,
            first: stored.roots.first,
            tail: VecDeque::new(),
            tail_bytes: 0,
            last_seq: 0,
            taken_away: 0,
        };
        let places = Mutex::new(Places { first: stored.roots.first, places: stored.places.iter().copied().collect() });
        let flushed_seq = AtomicU64::new(0);
        Self { cell, view: Mutex::new(view), places, flushed_seq, checkpointed, file, seal, stats }
    }

    pub(super) fn number(&self) -> u32 {
        self.cell.get()
    }

    /// Runs `change` on the view. Whatever it sends to the log thread goes out under the lock, so the
    /// group's commands reach the FIFO in the order in which the view changed.
    pub(super) fn with_view<T>(&self, change: impl FnOnce(&mut View) -> T) -> T {
        change(&mut self.view.lock())
    }

    /// The append with this number is durable.
    pub(super) fn flushed(&self, seq: u64) {
        self.flushed_seq.store(seq, Ordering::Release);
    }

    pub(super) fn flushed_seq(&self) -> u64 {
        self.flushed_seq.load(Ordering::Acquire)
    }

    /// Whether the group's durable checkpoint covers this index.
    pub(super) fn is_checkpointed(&self, index: u64) -> bool {
        index < self.checkpointed.load(Ordering::Acquire)
    }

    /// The entries of a range, gapless, from its first that is not purged. With `bytes_max`, stops at the
    /// first entry that passes it, but returns at least one.
    pub(super) fn read(&self, range: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        loop {
            // Under the lock: which part is in memory, and that part. An entry leaves the memory only when it is
            // durable, and then its place is known, so nothing falls between the two.
            let (disk_range, memory) = {
                let view = self.view.lock();
                let end = view.last.map_or(0, |id| id.index + 1);
                let range = range.start.max(view.first)..range.end.min(end);
                if range.is_empty() {
                    return Ok(Vec::new());
                }
                let tail_first = view.tail.front().map_or(end, |front| front.entry.log_id.index);
                let disk_range = range.start..range.end.min(tail_first);
                (disk_range, view.read_tail(tail_first.max(range.start)..range.end, tail_first, bytes_max))
            };
            if disk_range.is_empty() {
                return Ok(memory);
            }
            let (whole, from) = (disk_range.end - disk_range.start, disk_range.start);
            match self.read_disk(disk_range, bytes_max) {
                Ok((mut entries, used)) => {
                    if entries.len() as u64 == whole && used < bytes_max {
                        entries.extend(memory);
                    }
                    return Ok(entries);
                }
                // What was purged meanwhile may be written over: the range begins later now.
                Err(_) if self.view.lock().first > from => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// An entry's record as it is written.
    pub(super) fn record(&self, entry: &Entry, size_hint: usize) -> io::Result<Vec<u8>> {
        record::make(self.seal.as_deref(), self.number(), entry, size_hint)
    }

    fn read_disk(&self, range: Range<u64>, bytes_max: u64) -> io::Result<(Vec<Entry>, u64)> {
        let file = self.file.read().clone().ok_or_else(|| io::Error::other("the storage is shut down"))?;
        let mut entries = Vec::new();
        let mut used = 0;
        for index in range {
            let place = self.place(index).ok_or_else(|| hole(self.cell, index))?;
            entries.push(record::read(self.seal.as_deref(), self.number(), index, place.read(&*file)?)?);
            used += u64::from(place.bytes);
            if used >= bytes_max {
                break;
            }
        }
        self.stats.log_disk_reads.add(entries.len() as u64);
        Ok((entries, used))
    }

    /// Where the entry is on the disk.
    pub(super) fn place(&self, index: u64) -> Option<Place> {
        let places = self.places.lock();
        places.places.get(index.checked_sub(places.first)? as usize).copied()
    }

    /// The entry is durable there. What it takes the place of, and what is no longer part of the log, is given back.
    pub(super) fn written(&self, index: u64, place: Place) -> Vec<Place> {
        let mut places = self.places.lock();
        let next = places.first + places.places.len() as u64;
        if places.places.is_empty() || index > next {
            // A log need not have its beginning; behind a snapshot it begins anew.
            let before = std::mem::take(&mut places.places);
            places.first = index;
            places.places.push_back(place);
            return before.into();
        }
        if index == next {
            places.places.push_back(place);
            return Vec::new();
        }
        // Written again without a truncation before: the later one counts, as it does when the file is opened.
        match index.checked_sub(places.first).and_then(|at| places.places.get_mut(at as usize)) {
            Some(known) => vec![std::mem::replace(known, place)],
            None => vec![place],
        }
    }

    /// The entry was carried from one place to another, durably. Which of them is of no use any more is given back.
    pub(super) fn carried(&self, index: u64, from: Place, to: Place) -> Place {
        let mut places = self.places.lock();
        let at = index.checked_sub(places.first).map(|at| at as usize);
        match at.and_then(|at| places.places.get_mut(at)) {
            Some(known) if *known == from => std::mem::replace(known, to),
            _ => to,
        }
    }

    /// The log ends before this index, durably. What was behind is given back.
    pub(super) fn truncated(&self, from: u64) -> Vec<Place> {
        let mut places = self.places.lock();
        let keep = (from.saturating_sub(places.first) as usize).min(places.places.len());
        places.places.split_off(keep).into()
    }

    /// The log is purged up to this index, durably. What was there is given back.
    pub(super) fn purged(&self, upto: u64) -> Vec<Place> {
        let mut places = self.places.lock();
        let gone = ((upto + 1).saturating_sub(places.first) as usize).min(places.places.len());
        places.first = places.first.max(upto + 1);
        places.places.drain(..gone).collect()
    }

    /// The entries whose places these are.
    pub(super) fn places_where(&self, is_wanted: impl Fn(&Place) -> bool) -> Vec<(u64, Place)> {
        let places = self.places.lock();
        let numbered = (places.first..).zip(places.places.iter().copied());
        numbered.filter(|(_, place)| is_wanted(place)).collect()
    }
}

fn hole(cell: CellId, index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the log of group {cell} has no entry {index}"))
}

impl View {
    /// How often entries were taken away, at either end: what was read before is of the log only while this is as it was.
    pub(super) fn taken_away(&self) -> u64 {
        self.taken_away
    }

    /// Which entries of the range are on the disk alone.
    pub(super) fn on_disk(&self, range: &Range<u64>) -> Range<u64> {
        let end = self.last.map_or(0, |id| id.index + 1);
        let tail_first = self.tail.front().map_or(end, |front| front.entry.log_id.index);
        range.start.max(self.first)..range.end.min(tail_first)
    }

    fn read_tail(&self, range: Range<u64>, tail_first: u64, bytes_max: u64) -> Vec<Entry> {
        let skip = (range.start - tail_first) as usize;
        let count = range.end.saturating_sub(range.start) as usize;
        let mut used = 0;
        let within = |tail: &&TailEntry| {
            let more = used < bytes_max;
            used += tail.bytes;
            more
        };
        self.tail.iter().skip(skip).take(count).take_while(within).map(|tail| tail.entry.clone()).collect()
    }

    /// A number for the next append.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    pub(super) fn push(&mut self, entry: Entry, bytes: u64, seq: u64) {
        if self.last == self.purged {
            self.first = entry.log_id.index;
        }
        self.last = Some(entry.log_id);
        self.tail_bytes += bytes;
        self.tail.push_back(TailEntry { entry, bytes, seq });
    }

    /// Lets go of the oldest entries above the bound. Never of one that is not durable yet: it is nowhere
    /// else.
    pub(super) fn shrink_tail(&mut self, flushed_seq: u64) {
        while self.tail_bytes > LOG_TAIL_BYTES_MAX && self.tail.front().is_some_and(|front| front.seq <= flushed_seq) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(front) = self.tail.pop_front() {
            self.tail_bytes -= front.bytes;
        }
    }

    /// Forgets all entries after `last`.
    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        self.taken_away += 1;
        let keep = last.map_or(0, |id| id.index + 1);
        if self.last.is_none_or(|id| id.index < keep) {
            return;
        }
        while self.tail.back().is_some_and(|back| back.entry.log_id.index >= keep) {
            if let Some(back) = self.tail.pop_back() {
                self.tail_bytes -= back.bytes;
            }
        }
        self.last = if keep > self.first { last.max(self.purged) } else { self.purged };
    }

    /// Forgets all entries up to `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        self.taken_away += 1;
        while self.tail.front().is_some_and(|front| front.entry.log_id.index <= upto.index) {
            self.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.first = self.first.max(upto.index + 1);
        self.last = self.last.max(self.purged);
    }
}
