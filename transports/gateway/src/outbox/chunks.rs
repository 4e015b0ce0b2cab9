//! The rows of the file as memory mirrors them: messages that are appended together share one, and it goes when all of them are
//! done.
//!
//! What is done of a row that is in the file is noted beside it, lazily: the numbers make it harmless if a crash forgets that,
//! and most rows go whole within milliseconds. The note is due at once where resending would have an effect (dead letters),
//! and with the next commit for rows that linger because one of their messages has to wait.
//!
//! Rows are kept in memory, oldest out first, so that sending need not read the disk. A row whose messages are mostly done is
//! rewritten with the rest when the file has too much of what is done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::limits::{CHUNK_BYTES_MAX, CHUNK_MESSAGES_MAX, LINGER_CHUNKS, WINDOW_BYTES_MAX};
use crate::outbox::format::{Note, encode_record};
use crate::outbox::queue::{Promise, Write, WriteQueue};
use crate::outbox::row;

/// Place of a chunk in memory.
pub(crate) type ChunkIndex = u32;

/// One row.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Of its first message: the row's key.
    key: u64,
    count: u32,
    live: u32,
    row_bytes: u32,
    live_bytes: u32,
    /// The row, if it is in memory.
    bytes: Option<Bytes>,
    /// The write that makes it durable; only then the bytes may leave memory.
    write: u64,
    /// The first write of it; 0: the file had it at the start.
    first_write: u64,
    /// That it is durable.
    promise: Arc<Promise>,
    /// One of its messages left in another way than by the ack of its own content, or on ground that is not durable yet. So its
    /// promise is kept by its commit only, in which, or before which, is what became of that message.
    unsettled: bool,
    /// Counts chunks.
    born: u64,
    fates: Option<Box<Fates>>,
}

/// What became of single messages.
#[derive(Debug, Default)]
struct Fates {
    note: Note,
    /// The note on disk is not this one.
    stale: bool,
    /// It must be written with the next commit.
    due: bool,
    on_disk: bool,
}

/// The chunk that new messages go into.
#[derive(Debug)]
struct Open {
    index: ChunkIndex,
    row: Vec<u8>,
}

/// Why a message left the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The node has committed it, and all that a start after a crash must know of that is durable.
    Acked,
    /// The node has committed it; the device's row, which says under which attachment, is still on its way to the disk.
    AckedUnknown,
    /// Another message says what it said.
    Merged,
    /// It is a dead letter. That must be known after a crash.
    Buried,
}

/// Where a message lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Laid {
    pub(crate) chunk: ChunkIndex,
    /// Where its body begins in the row.
    pub(crate) at: u32,
    /// What it takes of the row.
    pub(crate) row_bytes: u32,
    /// The write that makes it durable.
    pub(crate) write: u64,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    slab: Vec<Option<Chunk>>,
    free: Vec<ChunkIndex>,
    count: usize,
    born: u64,
    open: Option<Open>,
    /// Those in memory, oldest first; some of them gone since.
    memory: VecDeque<(ChunkIndex, u64)>,
    memory_bytes: u64,
    /// All, oldest first; some of them gone since.
    order: VecDeque<(ChunkIndex, u64)>,
    /// Those in the file whose note is not what it should be.
    stale: Vec<(ChunkIndex, u64)>,
    /// Likewise, those that are not in the file: most never will be, and then there is nothing to note.
    unwritten_stale: Vec<(ChunkIndex, u64)>,
    garbage_bytes: u64,
    /// What the next open chunk should have room for.
    expected_bytes: usize,
    /// When the next open chunk must be written.
    due: Duration,
    /// Bytes of all rows.
    file_bytes: u64,
    /// Promises that are kept, of those whom nobody has told yet.
    kept: Vec<Arc<Promise>>,
}

impl Chunks {
    /// Bytes of rows that are of messages which are done.
    pub(crate) fn garbage_bytes(&self) -> u64 {
        self.garbage_bytes
    }

    /// Is there a note to be written some time?
    pub(crate) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }

    /// What all rows take in the file, about.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// That what is in the chunk is durable.
    pub(crate) fn promise(&self, index: ChunkIndex) -> Option<Arc<Promise>> {
        self.get(index).map(|chunk| Arc::clone(&chunk.promise))
    }

    /// Promises that are kept since: whoever waits for them is to be told.
    pub(crate) fn take_kept(&mut self) -> Vec<Arc<Promise>> {
        std::mem::take(&mut self.kept)
    }

    fn get(&self, index: ChunkIndex) -> Option<&Chunk> {
        self.slab.get(index as usize)?.as_ref()
    }

    fn get_mut(&mut self, index: ChunkIndex) -> Option<&mut Chunk> {
        self.slab.get_mut(index as usize)?.as_mut()
    }

    /// The chunk, if it is still the one that was meant: places are used again, keys are not.
    fn same(&mut self, index: ChunkIndex, key: u64) -> Option<&mut Chunk> {
        self.get_mut(index).filter(|chunk| chunk.key == key)
    }

    /// Key of a chunk's row.
    pub(crate) fn key(&self, index: ChunkIndex) -> Option<u64> {
        self.get(index).map(|chunk| chunk.key)
    }

    fn insert(&mut self, chunk: Chunk) -> ChunkIndex {
        let key = chunk.key;
        let index = if let Some(index) = self.free.pop() {
            self.slab[index as usize] = Some(chunk);
            index
        } else {
            self.slab.push(Some(chunk));
            (self.slab.len() - 1) as ChunkIndex
        };
        self.count += 1;
        self.order.push_back((index, key));
        if self.order.len() > 2 * self.count + 64 {
            let slab = &self.slab;
            self.order.retain(|(index, key)| slab[*index as usize].as_ref().is_some_and(|chunk| chunk.key == *key));
        }
        index
    }

    /// A row found in the file; its messages follow by [`Chunks::load_message`].
    pub(crate) fn load(&mut self, key: u64, row_bytes: usize, note: Option<Note>) -> ChunkIndex {
        let fates = note.map(|note| Box::new(Fates { note, on_disk: true, ..Fates::default() }));
        self.garbage_bytes += row_bytes as u64;
        self.file_bytes += row_bytes as u64;
        self.born += 1;
        let chunk = Chunk {
            key,
            count: 0,
            live: 0,
            row_bytes: row_bytes as u32,
            live_bytes: 0,
            bytes: None,
            write: 0,
            first_write: 0,
            promise: Arc::default(),
            unsettled: false,
            born: self.born,
            fates,
        };
        self.insert(chunk)
    }

    /// A message of it that is not done.
    pub(crate) fn load_message(&mut self, index: ChunkIndex, place: u32, row_bytes: u32) {
        if let Some(chunk) = self.get_mut(index) {
            chunk.count = chunk.count.max(place + 1);
            chunk.live += 1;
            chunk.live_bytes += row_bytes;
            self.garbage_bytes -= u64::from(row_bytes);
        }
    }

    /// All of it is loaded; it goes if nothing in it is left.
    pub(crate) fn loaded(&mut self, index: ChunkIndex, writes: &mut WriteQueue) {
        if self.get(index).is_some_and(|chunk| chunk.live == 0) {
            self.remove(index, writes);
        }
    }

    /// Appends a message to the open chunk.
    pub(crate) fn push(&mut self, key: u64, stamp: &row::Stamp<'_>, body: &[u8], writes: &mut WriteQueue) -> Laid {
        let full = self.open.as_ref().is_some_and(|open| {
            let count = self.get(open.index).map_or(0, |chunk| chunk.count);
            count as usize >= CHUNK_MESSAGES_MAX || open.row.len() + body.len() > CHUNK_BYTES_MAX
        });
        if full {
            self.seal(writes);
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin(key, writes),
        };
        let place = self.get(open.index).map_or(0, |chunk| chunk.count);
        let (at, row_bytes) = row::push(&mut open.row, place as u16, stamp, body);
        writes.grows(u64::from(row_bytes));
        self.file_bytes += u64::from(row_bytes);
        let mut write = 0;
        let index = open.index;
        if let Some(chunk) = self.get_mut(index) {
            chunk.count += 1;
            chunk.live += 1;
            chunk.live_bytes += row_bytes;
            chunk.row_bytes += row_bytes;
            write = chunk.write;
        }
        self.open = Some(open);
        Laid { chunk: index, at, row_bytes, write }
    }

    fn begin(&mut self, key: u64, writes: &mut WriteQueue) -> Open {
        let promise = Arc::<Promise>::default();
        let write = writes.reserve(key, Arc::clone(&promise), self.due);
        self.born += 1;
        let chunk = Chunk {
            key,
            count: 0,
            live: 0,
            row_bytes: 0,
            live_bytes: 0,
            bytes: None,
            write,
            first_write: write,
            promise,
            unsettled: false,
            born: self.born,
            fates: None,
        };
        Open { index: self.insert(chunk), row: Vec::with_capacity(self.expected_bytes) }
    }

    /// So many bytes come now: what takes them need not grow by doubling. A new row of them is written at `due` at the latest.
    pub(crate) fn expect(&mut self, bytes: usize, due: Duration) {
        self.due = due;
        self.expected_bytes = bytes.min(CHUNK_BYTES_MAX);
        if let Some(open) = &mut self.open {
            open.row.reserve(bytes.min(CHUNK_BYTES_MAX.saturating_sub(open.row.len())));
        }
    }

    /// Closes the open chunk: what comes goes into another. Its row is final.
    pub(crate) fn seal(&mut self, writes: &mut WriteQueue) {
        let Some(Open { index, mut row }) = self.open.take() else { return };
        // What the last doubling left over would stay as long as the row.
        if row.capacity() > row.len() + row.len() / 4 {
            row.shrink_to_fit();
        }
        let row = Bytes::from(row);
        let write = self.get(index).map_or(0, |chunk| chunk.first_write);
        writes.fill(write, row.clone());
        if self.get(index).is_some_and(|chunk| chunk.live == 0) {
            self.remove(index, writes);
            return;
        }
        self.keep(index, row);
    }

    /// Keeps a row in memory, and lets go of the oldest for it.
    fn keep(&mut self, index: ChunkIndex, row: Bytes) {
        let Some(chunk) = self.get_mut(index) else { return };
        let (key, length) = (chunk.key, row.len() as u64);
        if chunk.bytes.replace(row).is_some() {
            return;
        }
        self.memory_bytes += length;
        self.memory.push_back((index, key));
    }

    /// Lets go of rows that memory has no room for and that are durable.
    pub(crate) fn evict(&mut self, durable: u64) {
        while self.memory_bytes > WINDOW_BYTES_MAX
            && let Some((index, key)) = self.memory.front().copied()
        {
            if let Some(chunk) = self.same(index, key) {
                if chunk.write > durable {
                    return;
                }
                let gone = chunk.bytes.take().map_or(0, |bytes| bytes.len() as u64);
                self.memory_bytes -= gone;
            }
            self.memory.pop_front();
        }
        if self.memory.len() > 2 * self.count + 64 {
            let slab = &self.slab;
            self.memory.retain(|(index, key)| {
                slab[*index as usize].as_ref().is_some_and(|chunk| chunk.key == *key && chunk.bytes.is_some())
            });
        }
    }

    /// Is the chunk still open?
    pub(crate) fn is_open(&self, index: ChunkIndex) -> bool {
        self.open.as_ref().is_some_and(|open| open.index == index)
    }

    /// A part of the row, if it is in memory.
    pub(crate) fn slice(&self, index: ChunkIndex, at: u32, bytes: u32) -> Option<Bytes> {
        let row = self.get(index)?.bytes.as_ref()?;
        Some(row.slice(at as usize..(at + bytes) as usize))
    }

    /// A message is done.
    pub(crate) fn done(
        &mut self,
        index: ChunkIndex,
        message: u64,
        row_bytes: u32,
        left: Left,
        writes: &mut WriteQueue,
    ) {
        let open = self.is_open(index);
        let Some(chunk) = self.get_mut(index) else { return };
        chunk.unsettled |= left != Left::Acked;
        chunk.live -= 1;
        chunk.live_bytes -= row_bytes;
        let (key, live) = (chunk.key, chunk.live);
        self.garbage_bytes += u64::from(row_bytes);
        if live > 0 || open {
            let durable = writes.durable();
            self.fate(index, left == Left::Buried, durable, |note| note.gone.push((message - key) as u32));
        } else {
            self.remove(index, writes);
        }
    }

    /// A message's content is a dead letter, its numbers are declared lost.
    pub(crate) fn lost(&mut self, index: ChunkIndex, message: u64, code: &str, writes: &WriteQueue) {
        if let Some(chunk) = self.get_mut(index) {
            chunk.unsettled = true;
            let key = chunk.key;
            let lost = ((message - key) as u32, code.to_owned());
            self.fate(index, true, writes.durable(), |note| note.lost.push(lost));
        }
    }

    fn fate(&mut self, index: ChunkIndex, due: bool, durable: u64, change: impl FnOnce(&mut Note)) {
        let count = self.count;
        let Some(chunk) = self.slab.get_mut(index as usize).and_then(Option::as_mut) else { return };
        let fates = chunk.fates.get_or_insert_default();
        change(&mut fates.note);
        fates.due |= due;
        if std::mem::replace(&mut fates.stale, true) {
            return;
        }
        if chunk.first_write <= durable {
            self.stale.push((index, chunk.key));
            return;
        }
        self.unwritten_stale.push((index, chunk.key));
        if self.unwritten_stale.len() > 2 * count + 64 {
            let slab = &self.slab;
            let is_there = |(index, key): &(ChunkIndex, u64)| {
                slab.get(*index as usize).and_then(Option::as_ref).is_some_and(|chunk| chunk.key == *key)
            };
            self.unwritten_stale.retain(is_there);
        }
    }

    fn remove(&mut self, index: ChunkIndex, writes: &mut WriteQueue) {
        let Some(chunk) = self.slab.get_mut(index as usize).and_then(Option::take) else { return };
        self.free.push(index);
        self.count -= 1;
        self.garbage_bytes -= u64::from(chunk.row_bytes - chunk.live_bytes);
        self.file_bytes -= u64::from(chunk.row_bytes);
        self.memory_bytes -= chunk.bytes.map_or(0, |bytes| bytes.len() as u64);
        // **Invariant:** only if the node has acked every message of it by itself, and that will be known.
        let settled = !chunk.unsettled;
        if settled {
            self.kept.push(chunk.promise);
        }
        if settled && writes.spare(chunk.first_write) {
            if chunk.write != chunk.first_write {
                writes.spare(chunk.write);
            }
            return;
        }
        writes.push_lazy(Write::Remove { key: chunk.key, noted: chunk.fates.is_some_and(|fates| fates.on_disk) });
    }

    /// The notes that the commit of everything up to this write must have: those that are due, those of rows that linger, or all;
    /// of rows that are in the file then.
    pub(crate) fn notes(&mut self, all: bool, upto: u64) -> Vec<Write> {
        let born = self.born;
        let (mut notes, mut stale, mut unwritten) = (Vec::new(), Vec::new(), Vec::new());
        let known = std::mem::take(&mut self.stale).into_iter().chain(std::mem::take(&mut self.unwritten_stale));
        for (index, key) in known {
            let Some(chunk) = self.same(index, key) else { continue };
            let Some(fates) = chunk.fates.as_deref_mut() else { continue };
            if chunk.first_write > upto {
                unwritten.push((index, key));
            } else if all || fates.due || chunk.born + LINGER_CHUNKS < born {
                fates.stale = false;
                fates.due = false;
                fates.on_disk = true;
                notes.push(Write::Note { key, row: encode_record(&fates.note) });
            } else {
                stale.push((index, key));
            }
        }
        (self.stale, self.unwritten_stale) = (stale, unwritten);
        notes
    }

    /// The write that the row which still grows has its place in.
    pub(crate) fn open_write(&self) -> Option<u64> {
        self.open.as_ref().and_then(|open| self.get(open.index)).map(|chunk| chunk.first_write)
    }

    /// The oldest rows of which at least half is done (`eager`: an eighth), at most so many.
    pub(crate) fn wasteful(&self, eager: bool, at_most: usize) -> Vec<ChunkIndex> {
        let wasteful = |chunk: &Chunk| {
            let garbage = chunk.row_bytes - chunk.live_bytes;
            garbage > 0 && if eager { garbage * 8 >= chunk.row_bytes } else { garbage * 2 >= chunk.row_bytes }
        };
        let same = |(index, key): &(ChunkIndex, u64)| {
            self.get(*index).filter(|chunk| chunk.key == *key && wasteful(chunk)).map(|_| *index)
        };
        self.order.iter().filter_map(same).filter(|index| !self.is_open(*index)).take(at_most).collect()
    }

    /// Key of the first message of the oldest row. Looks past those that are gone.
    pub(crate) fn oldest_key(&self) -> Option<u64> {
        let is_there = |(index, key): &&(ChunkIndex, u64)| self.get(*index).is_some_and(|chunk| chunk.key == *key);
        self.order.iter().find(is_there).map(|(_, key)| *key)
    }

    /// The whole row, if it is in memory.
    pub(crate) fn row(&self, index: ChunkIndex) -> Option<Bytes> {
        self.get(index)?.bytes.clone()
    }

    /// The row is rewritten with what is not done. The note stays: places stay.
    pub(crate) fn rewritten(&mut self, index: ChunkIndex, row: Vec<u8>, writes: &mut WriteQueue) {
        let row = Bytes::from(row);
        let Some(chunk) = self.get_mut(index) else { return };
        let garbage = u64::from(chunk.row_bytes - chunk.live_bytes);
        chunk.row_bytes = row.len() as u32;
        chunk.live_bytes = row.len() as u32;
        let key = chunk.key;
        let was = chunk.bytes.take().map_or(0, |bytes| bytes.len() as u64);
        let promise = Arc::clone(&chunk.promise);
        chunk.write = writes.push_lazy(Write::Chunk { key, row: row.clone(), promise });
        self.garbage_bytes -= garbage;
        self.file_bytes -= garbage;
        self.memory_bytes -= was;
        self.keep(index, row);
    }
}

/// The code of the refusal of a message whose numbers are lost.
pub(crate) fn lost_code(note: Option<&Note>, place: u32) -> Option<Arc<str>> {
    note?.lost.iter().find(|(lost, _)| *lost == place).map(|(_, code)| code.as_str().into())
}
