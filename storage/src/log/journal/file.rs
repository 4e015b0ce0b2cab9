//! Writing the file: frames, slots, and what is of use in them.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::StorageBackend;
use twin_waiting_file::WaitingFile;

use super::frame::{Frame, Head, Kind};
use super::header::{Header, SLOTS_AT};
use super::place::Place;
use super::roots::Roots;
use crate::codec;
use crate::limits::FRAME_BYTES;
use crate::space::FileRoom;

/// A slot that holds less than one part in so many of what it could is emptied into another one before the file grows.
const SPARSE_PART: u64 = 4;

/// So many frames that are full fit into a slot.
const FRAMES_A_SLOT_MIN: u64 = 8;

/// A part of the file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// The order in which slots were begun, from 1; 0: never.
    pub(super) sequence: u64,
    /// Entries in it that are of use.
    entries: u64,
    /// Their bytes.
    bytes: u64,
}

/// The file, as its one writer has it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(super) file: Arc<WaitingFile<FileRoom>>,
    pub(super) header: Header,
    pub(super) slots: Vec<Slot>,
    /// The slot that is being written; `None`: none ever was.
    pub(super) current: Option<usize>,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Number of the last frame; 0: there is none.
    pub(super) last: u64,
    /// Number of the last frame that is durable.
    pub(super) durable: u64,
    /// The same, for the checkpointer.
    pub(super) durable_told: Arc<AtomicU64>,
    /// The last unused slot is kept for the next life.
    pub(super) keeps_spare: bool,
}

impl Journal {
    /// The file, to read from.
    pub(crate) fn reader(&self) -> Arc<dyn StorageBackend> {
        Arc::clone(&self.file) as Arc<dyn StorageBackend>
    }

    /// Whose file it is.
    pub(crate) fn node(&self) -> Option<&str> {
        self.header.node.as_deref()
    }

    /// Was anything ever written?
    pub(crate) fn has_begun(&self) -> bool {
        self.current.is_some()
    }

    /// Number of the last frame that is durable, as it rises.
    pub(crate) fn durable(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.durable_told)
    }

    /// Number of the last frame; 0: there is none.
    pub(crate) fn last_frame(&self) -> u64 {
        self.last
    }

    /// Bytes after which a round goes on in another frame.
    pub(in crate::log) fn frame_bytes(&self) -> usize {
        FRAME_BYTES.min((self.header.slot_bytes / FRAMES_A_SLOT_MIN) as usize)
    }

    /// Writes whose file it is, durably.
    pub(crate) fn claim(&mut self, node: &str) -> io::Result<()> {
        self.header.node = Some(node.to_owned());
        self.header.opening += 1;
        self.header.write(&*self.file)
    }

    /// Lets go of the file's lock.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    /// Writes a frame; says where it is. `roots` is what was known before it. Durable after the next [`Self::sync`].
    pub(in crate::log) fn append(&mut self, frame: &mut Frame, roots: &BTreeMap<u32, Roots>) -> io::Result<u64> {
        if self.room() < frame.file_bytes() {
            self.begin_slot(frame.file_bytes(), roots)?;
        }
        self.write(frame)
    }

    /// Makes durable what was written.
    pub(in crate::log) fn sync(&mut self) -> io::Result<()> {
        if self.durable < self.last {
            self.file.sync_data()?;
            self.is_durable();
        }
        Ok(())
    }

    /// All frames are on the disk.
    pub(super) fn is_durable(&mut self) {
        self.durable = self.last;
        self.durable_told.store(self.durable, Ordering::Release);
    }

    fn room(&self) -> u64 {
        self.current.map_or(0, |slot| self.slot_at(slot + 1) - self.end)
    }

    fn slot_at(&self, slot: usize) -> u64 {
        SLOTS_AT + slot as u64 * self.header.slot_bytes
    }

    fn write(&mut self, frame: &mut Frame) -> io::Result<u64> {
        let Some(slot) = self.current else { return Err(io::Error::other("no slot has begun")) };
        let (number, opening) = (self.last + 1, self.header.opening);
        let head = Head { sequence: self.slots[slot].sequence, number, durable: self.durable, opening };
        let at = self.end;
        let bytes = frame.finish(head);
        self.file.write(at, bytes)?;
        self.end += bytes.len() as u64;
        self.last = number;
        Ok(at)
    }

    /// Goes on in another slot, which begins with the roots.
    fn begin_slot(&mut self, wanted_bytes: u64, roots: &BTreeMap<u32, Roots>) -> io::Result<()> {
        // **Invariant:** where there is a slot with a whole beginning, all before it is there.
        self.sync()?;
        let mut begin = Frame::new();
        begin.push(Kind::Begin, 0, 0, &codec::encode(roots, 0)?);
        let needed_bytes = begin.file_bytes() + wanted_bytes;
        if needed_bytes > self.header.slot_bytes {
            let slot_bytes = self.header.slot_bytes;
            return Err(io::Error::other(format!("a frame of {needed_bytes} bytes fits no slot of {slot_bytes}")));
        }
        let sequence = self.slots.iter().map(|slot| slot.sequence).max().unwrap_or_default() + 1;
        let slot = match self.unused() {
            Some(slot) if !self.keeps_spare || self.count_unused() > 1 => slot,
            _ => self.grow()?,
        };
        self.slots[slot] = Slot { sequence, ..Slot::default() };
        self.current = Some(slot);
        self.end = self.slot_at(slot);
        self.write(&mut begin)?;
        Ok(())
    }

    fn all_unused(&self) -> impl Iterator<Item = usize> {
        (0..self.slots.len()).filter(|at| self.slots[*at].entries == 0 && Some(*at) != self.current)
    }

    /// The oldest slot in which nothing is of use.
    fn unused(&self) -> Option<usize> {
        self.all_unused().min_by_key(|at| self.slots[*at].sequence)
    }

    fn count_unused(&self) -> usize {
        self.all_unused().count()
    }

    /// Makes a spare slot, if there is none and the disk has room for one now.
    ///
    /// **Invariant:** what a life needs to begin (votes, barriers) finds room also where the disk has none: the life before waited for
    /// room rather than take the last slot.
    pub(in crate::log) fn keep_spare(&mut self) -> io::Result<()> {
        if !self.keeps_spare && self.has_begun() {
            self.keeps_spare = self.count_unused() > 0;
            if !self.keeps_spare && self.file.set_len_if_it_fits(self.slot_at(self.slots.len() + 1))? {
                self.add_slot()?;
                self.keeps_spare = true;
            }
        }
        Ok(())
    }

    /// One slot more.
    fn grow(&mut self) -> io::Result<usize> {
        self.file.set_len(self.slot_at(self.slots.len() + 1))?;
        self.add_slot()
    }

    /// The header says so only when it is durable, and before there is anything in it.
    fn add_slot(&mut self) -> io::Result<usize> {
        let slot = self.slots.len();
        self.file.sync_data()?;
        self.slots.push(Slot::default());
        self.header.slots = self.slots.len() as u64;
        self.header.opening += 1;
        self.header.write(&*self.file)?;
        Ok(slot)
    }

    /// A slot in which little is of use, where another one will soon be wanted. Its entries should be appended again.
    pub(in crate::log) fn sparse(&self) -> Option<usize> {
        if self.count_unused() > usize::from(self.keeps_spare) {
            return None;
        }
        let sparse = |at: &usize| {
            let slot = &self.slots[*at];
            Some(*at) != self.current && slot.entries > 0 && slot.bytes < self.header.slot_bytes / SPARSE_PART
        };
        (0..self.slots.len()).filter(sparse).min_by_key(|at| self.slots[*at].sequence)
    }

    /// Which slot it is in.
    pub(in crate::log) fn slot_of(&self, place: &Place) -> usize {
        ((place.at - SLOTS_AT) / self.header.slot_bytes) as usize
    }

    /// What is there is of use.
    pub(in crate::log) fn hold(&mut self, place: &Place) {
        let slot = self.slot_of(place);
        self.slots[slot].entries += 1;
        self.slots[slot].bytes += u64::from(place.bytes);
    }

    /// What is there is of no use any more, and that is durable.
    pub(in crate::log) fn release(&mut self, place: &Place) {
        let slot = self.slot_of(place);
        let slot = &mut self.slots[slot];
        debug_assert!(slot.entries > 0, "what is released was held");
        slot.entries = slot.entries.saturating_sub(1);
        slot.bytes = slot.bytes.saturating_sub(u64::from(place.bytes));
    }
}
