//! A frame: what is written in one go.
//!
//! ```text
//! head    magic 4 | check 4 | sequence of the slot 8 | number 8 | durable 8 | opening 8 | items 4 | bytes of the body 4
//! body    what the items say, one behind the other
//! table   of each item: kind 1 | group 4 | index 8 | bytes 4 | check 4
//! zeros   up to the next sector
//! ```
//!
//! Numbers are big-endian, checks CRC-32 (IEEE). The head's check is of all behind it in the head, and of the table; each item's of what it says.

use std::io;

use redb::StorageBackend;

use super::place::Place;
use crate::limits::{FRAME_ITEMS_MAX, LOG_NUMBER_MAX};

/// What a disk writes as a whole, or not at all.
pub(super) const SECTOR_BYTES: u64 = 512;
const MAGIC: [u8; 4] = *b"TMjf";
const HEAD_BYTES: usize = 48;
const ITEM_BYTES: usize = 21;
/// Where the checked part of the head begins.
const CHECKED_FROM: usize = 8;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::log) enum Kind {
    /// The beginning of a slot: the roots of all groups.
    Begin = 0,
    /// An entry. One that was there already was carried here from a slot that is to be written over.
    Entry = 1,
    /// The vote.
    Vote = 2,
    /// The committed id.
    Committed = 3,
    /// The id up to which the log is purged.
    Purged = 4,
    /// The log ends before this index.
    Truncated = 5,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Begin, Self::Entry, Self::Vote, Self::Committed, Self::Purged, Self::Truncated]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// An item of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) struct Item {
    pub(in crate::log) kind: Kind,
    pub(in crate::log) group: u32,
    pub(in crate::log) index: u64,
    /// Where what it says begins, from the beginning of the frame.
    at: u32,
    bytes: u32,
    check: u32,
}

impl Item {
    /// Where what it says is in the file, if its frame is at `frame_at`.
    pub(in crate::log) fn place(&self, frame_at: u64) -> Place {
        Place { at: frame_at + u64::from(self.at), bytes: self.bytes, check: self.check }
    }
}

/// Which frame it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Of the slot that it is in.
    pub(super) sequence: u64,
    /// One more than that of the frame before it.
    pub(super) number: u64,
    /// All frames up to this number were durable when it was written.
    pub(super) durable: u64,
    /// During which opening of the file it was written.
    pub(super) opening: u64,
}

/// A frame that is being made, and made anew: its memory stays.
#[derive(Debug)]
pub(in crate::log) struct Frame {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

impl Frame {
    /// An empty one.
    pub(in crate::log) fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES], items: Vec::new() }
    }

    pub(in crate::log) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(in crate::log) fn items(&self) -> &[Item] {
        &self.items
    }

    /// What the item says.
    pub(in crate::log) fn payload(&self, item: &Item) -> &[u8] {
        &self.bytes[item.at as usize..(item.at + item.bytes) as usize]
    }

    /// Is it full, so that more should go into another one?
    pub(in crate::log) fn is_full(&self, bytes_max: usize) -> bool {
        self.bytes.len() >= bytes_max || self.items.len() >= FRAME_ITEMS_MAX
    }

    pub(in crate::log) fn push(&mut self, kind: Kind, group: u32, index: u64, payload: &[u8]) {
        let (at, bytes) = (self.bytes.len() as u32, payload.len() as u32);
        self.bytes.extend_from_slice(payload);
        self.items.push(Item { kind, group, index, at, bytes, check: crc32fast::hash(payload) });
    }

    /// What it takes in the file.
    pub(super) fn file_bytes(&self) -> u64 {
        ((self.bytes.len() + self.items.len() * ITEM_BYTES) as u64).next_multiple_of(SECTOR_BYTES)
    }

    /// Its bytes as they are written.
    pub(super) fn finish(&mut self, head: Head) -> &[u8] {
        let file_bytes = self.file_bytes() as usize;
        let body_bytes = (self.bytes.len() - HEAD_BYTES) as u32;
        let table_at = self.bytes.len();
        for item in &self.items {
            self.bytes.push(item.kind as u8);
            self.bytes.extend_from_slice(&item.group.to_be_bytes());
            self.bytes.extend_from_slice(&item.index.to_be_bytes());
            self.bytes.extend_from_slice(&item.bytes.to_be_bytes());
            self.bytes.extend_from_slice(&item.check.to_be_bytes());
        }
        let mut at = CHECKED_FROM;
        let mut put = |number: &[u8]| {
            self.bytes[at..at + number.len()].copy_from_slice(number);
            at += number.len();
        };
        for number in [head.sequence, head.number, head.durable, head.opening] {
            put(&number.to_be_bytes());
        }
        put(&(self.items.len() as u32).to_be_bytes());
        put(&body_bytes.to_be_bytes());
        let check = check(&self.bytes[CHECKED_FROM..HEAD_BYTES], &self.bytes[table_at..]);
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..CHECKED_FROM].copy_from_slice(&check.to_be_bytes());
        self.bytes.resize(file_bytes, 0);
        &self.bytes
    }

    /// Makes it empty again.
    pub(in crate::log) fn clear(&mut self) {
        self.bytes.truncate(HEAD_BYTES);
        self.items.clear();
    }
}

fn check(head: &[u8], table: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(table);
    hasher.finalize()
}

/// A frame that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Head,
    pub(super) items: Vec<Item>,
    /// What it takes in the file.
    pub(super) file_bytes: u64,
}

impl Found {
    /// Does it hold what its items say?
    pub(super) fn is_whole(&self, file: &dyn StorageBackend, at: u64) -> io::Result<bool> {
        for item in &self.items {
            match item.place(at).read(file) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// Could a frame begin with this?
pub(super) fn begins_like_one(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The frame at `at`, which ends before `end`, if there is one there. What its items say is not looked at.
pub(super) fn read(file: &dyn StorageBackend, at: u64, end: u64) -> io::Result<Option<Found>> {
    let room = end.saturating_sub(at);
    if room < HEAD_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; HEAD_BYTES];
    file.read(at, &mut bytes)?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let small = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let (count, body_bytes) = (small(40) as usize, u64::from(small(44)));
    // The count is bounded before anything is reserved for it.
    if !begins_like_one(&bytes) || count > FRAME_ITEMS_MAX {
        return Ok(None);
    }
    let file_bytes = (HEAD_BYTES as u64 + body_bytes + (count * ITEM_BYTES) as u64).next_multiple_of(SECTOR_BYTES);
    if file_bytes > room {
        return Ok(None);
    }
    let mut table = vec![0; count * ITEM_BYTES];
    file.read(at + HEAD_BYTES as u64 + body_bytes, &mut table)?;
    if check(&bytes[CHECKED_FROM..], &table) != small(4) {
        return Ok(None);
    }
    let mut items = Vec::with_capacity(count);
    let mut item_at = HEAD_BYTES as u64;
    for row in table.chunks_exact(ITEM_BYTES) {
        let small = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| row[at + byte]));
        let Some(kind) = Kind::of(row[0]) else { return Ok(None) };
        let index = u64::from_be_bytes(std::array::from_fn(|byte| row[5 + byte]));
        let bytes = small(13);
        items.push(Item { kind, group: small(1), index, at: item_at as u32, bytes, check: small(17) });
        item_at += u64::from(bytes);
    }
    if item_at != HEAD_BYTES as u64 + body_bytes {
        return Ok(None);
    }
    let head = Head { sequence: number(8), number: number(16), durable: number(24), opening: number(32) };
    let indexes = items.iter().map(|item| item.index);
    if [head.sequence, head.number, head.opening].into_iter().chain(indexes).any(|number| number > LOG_NUMBER_MAX) {
        return Ok(None);
    }
    Ok(Some(Found { head, items, file_bytes }))
}

/// The bytes that a frame at `at` says it has, if it says that it is this one of this slot, whole or not; 0: it does not.
pub(super) fn claimed(file: &dyn StorageBackend, at: u64, end: u64, sequence: u64, number: u64) -> io::Result<u64> {
    let room = end.saturating_sub(at);
    if room < HEAD_BYTES as u64 {
        return Ok(0);
    }
    let mut bytes = [0; HEAD_BYTES];
    file.read(at, &mut bytes)?;
    let long = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte]));
    let small = |at: usize| u64::from(u32::from_be_bytes(std::array::from_fn(|byte| bytes[at + byte])));
    if !begins_like_one(&bytes) || (long(8), long(16)) != (sequence, number) {
        return Ok(0);
    }
    let file_bytes = HEAD_BYTES as u64 + small(44) + small(40) * ITEM_BYTES as u64;
    Ok(file_bytes.next_multiple_of(SECTOR_BYTES).min(room))
}

#[cfg(test)]
mod tests {
    use redb::backends::InMemoryBackend;

    use super::*;

    const HEAD: Head = Head { sequence: 7, number: 8, durable: 6, opening: 2 };

    fn written(at: u64) -> (InMemoryBackend, Frame, u64) {
        let mut frame = Frame::new();
        frame.push(Kind::Entry, 1, 5, b"an entry");
        frame.push(Kind::Truncated, 2, 9, b"");
        frame.push(Kind::Entry, 1, 6, &[3; 700]);
        let file = InMemoryBackend::new();
        let bytes = frame.finish(HEAD).to_vec();
        file.set_len(at + bytes.len() as u64).expect("memory");
        file.write(at, &bytes).expect("memory");
        (file, frame, at + bytes.len() as u64)
    }

    #[test]
    fn a_frame_is_found_as_it_was_written() {
        let (file, frame, end) = written(1024);
        let found = read(&file, 1024, end).expect("readable").expect("there");
        assert_eq!((found.head, &*found.items, found.file_bytes), (HEAD, frame.items(), end - 1024));
        assert!(found.is_whole(&file, 1024).expect("readable"));
        assert_eq!(found.items[0].place(1024).read(&file).expect("whole"), b"an entry");
        assert!(end.is_multiple_of(SECTOR_BYTES));
        assert!(read(&file, 512, end).expect("readable").is_none());
        assert!(read(&file, 1024, end - 1).expect("readable").is_none(), "it does not fit");
    }

    #[test]
    fn no_flipped_bit_is_taken_for_a_whole_frame() {
        let (file, _, end) = written(0);
        for at in 0..end - 300 {
            let mut byte = [0];
            file.read(at, &mut byte).expect("memory");
            file.write(at, &[byte[0] ^ 0x10]).expect("memory");
            let whole = match read(&file, 0, end).expect("readable") {
                Some(found) => found.is_whole(&file, 0).expect("readable"),
                None => false,
            };
            // Zeros behind the table say nothing.
            let says_something = at < HEAD_BYTES as u64 + 708 + 3 * ITEM_BYTES as u64;
            assert_eq!(whole, !says_something, "byte {at}");
            file.write(at, &byte).expect("memory");
        }
    }
}
