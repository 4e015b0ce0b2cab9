//! A group's rows as a stream of chunks, for replicas that are too far behind for the log.
//!
//! The stream is a header record (length-prefixed [`Covered`]), then each row as family (1 byte), key
//! length (2), value length (4), key, value; families and keys in order; then a zero byte and the number
//! of rows (8). All numbers are big-endian. The end is explicit so that a cut stream is never installed.

use std::fmt;
use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use twin_core::numbers::CellId;

use super::base::{Base, BaseRange};
use super::tables::{Covered, row_key};
use crate::codec;
use crate::consensus::SnapshotMeta;
use crate::families::Family;
use crate::limits::{SNAPSHOT_BYTES_MAX, SNAPSHOT_CHUNK_BYTES};

/// A stream that is not a snapshot of ours, or too much of one.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Larger than we hold in memory.
    #[error("a snapshot has at most {SNAPSHOT_BYTES_MAX} bytes, this one has at least {0}: split the cell")]
    TooLarge(u64),
    /// Ends early, or contradicts itself.
    #[error("not a whole snapshot: {0}; ask for it again")]
    Malformed(&'static str),
    /// Its header cannot be read.
    #[error("the snapshot's header cannot be read: {0}; upgrade this node first")]
    Header(String),
}

impl From<SnapshotError> for io::Error {
    fn from(error: SnapshotError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The rows of a snapshot: of our own last checkpoint, read when they are sent, or received.
pub struct SnapshotData(Source);

enum Source {
    Base { cell: CellId, base: Option<Arc<Base>>, covered: Covered },
    Received(Vec<Bytes>),
}

impl fmt::Debug for SnapshotData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Base { cell, covered, .. } => write!(f, "SnapshotData of group {cell} at {:?}", covered.applied),
            Source::Received(chunks) => write!(f, "SnapshotData of {} received chunks", chunks.len()),
        }
    }
}

pub(super) fn meta_of(covered: &Covered) -> SnapshotMeta {
    SnapshotMeta { last_log_id: covered.applied, last_membership: covered.membership.clone() }
}

impl SnapshotData {
    pub(super) fn of_base(cell: CellId, base: Arc<Base>, covered: Covered) -> Self {
        Self(Source::Base { cell, base: Some(base), covered })
    }

    pub(super) fn empty(cell: CellId) -> Self {
        Self(Source::Base { cell, base: None, covered: Covered::default() })
    }

    /// The stream, in chunks of about 256 KiB. Reads the file as it goes: call it off the runtime's threads.
    pub fn into_chunks(self) -> SnapshotChunks {
        match self.0 {
            Source::Base { cell, base, covered } => {
                let families = if base.is_some() { Family::ALL.to_vec() } else { Vec::new() };
                SnapshotChunks(Chunks::Base(Box::new(BaseChunks {
                    cell: cell.get(),
                    base,
                    header: Some(covered),
                    families: families.into_iter(),
                    rows: None,
                    count: 0,
                    done: false,
                })))
            }
            Source::Received(chunks) => SnapshotChunks(Chunks::Received(chunks.into_iter())),
        }
    }
}

/// Chunks of a snapshot's stream.
pub struct SnapshotChunks(Chunks);

impl fmt::Debug for SnapshotChunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotChunks").finish_non_exhaustive()
    }
}

enum Chunks {
    Base(Box<BaseChunks>),
    Received(std::vec::IntoIter<Bytes>),
}

struct BaseChunks {
    cell: u32,
    base: Option<Arc<Base>>,
    header: Option<Covered>,
    families: std::vec::IntoIter<Family>,
    rows: Option<(Family, BaseRange)>,
    count: u64,
    done: bool,
}

impl Iterator for SnapshotChunks {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Chunks::Received(chunks) => chunks.next().map(Ok),
            Chunks::Base(base) if base.done => None,
            Chunks::Base(base) => {
                let chunk = base.chunk();
                base.done |= chunk.is_err();
                Some(chunk)
            }
        }
    }
}

impl BaseChunks {
    fn chunk(&mut self) -> io::Result<Bytes> {
        let mut chunk = BytesMut::with_capacity(SNAPSHOT_CHUNK_BYTES + 4096);
        if let Some(covered) = self.header.take() {
            let header = codec::encode(&covered, 256)?;
            chunk.put_u32(header.len() as u32);
            chunk.put_slice(&header);
        }
        while chunk.len() < SNAPSHOT_CHUNK_BYTES {
            if !self.row(&mut chunk)? {
                chunk.put_u8(0);
                chunk.put_u64(self.count);
                self.done = true;
                break;
            }
        }
        Ok(chunk.freeze())
    }

    /// Puts the next row; `false` at the end.
    fn row(&mut self, chunk: &mut BytesMut) -> io::Result<bool> {
        loop {
            if let Some((family, rows)) = &mut self.rows {
                if let Some(row) = rows.next() {
                    let (key, value) = row.map_err(io::Error::other)?;
                    if let (Some(base), Some(row)) =
                        (&self.base, key.value().strip_prefix(self.cell.to_be_bytes().as_slice()))
                    {
                        let value = base.value(*family, key.value(), value.value()).map_err(io::Error::other)?;
                        let key = row;
                        chunk.put_u8(family.number());
                        chunk.put_u16(key.len() as u16);
                        chunk.put_u32(value.len() as u32);
                        chunk.put_slice(key);
                        chunk.put_slice(&value);
                        self.count += 1;
                        return Ok(true);
                    }
                }
                self.rows = None;
            }
            let (Some(base), Some(family)) = (&self.base, self.families.next()) else { return Ok(false) };
            let rows = base.range(family, &row_key(self.cell, &[])).map_err(io::Error::other)?;
            self.rows = Some((family, rows));
        }
    }
}

/// Gathers a snapshot that another replica sends.
#[derive(Debug, Default)]
pub struct SnapshotReceiver {
    chunks: Vec<Bytes>,
    bytes: u64,
}

impl SnapshotReceiver {
    /// Nothing received yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next chunk, as [`SnapshotData::into_chunks`] of the sender gave it.
    pub fn push(&mut self, chunk: Bytes) -> Result<(), SnapshotError> {
        self.bytes += chunk.len() as u64;
        if self.bytes > SNAPSHOT_BYTES_MAX {
            return Err(SnapshotError::TooLarge(self.bytes));
        }
        self.chunks.push(chunk);
        Ok(())
    }

    /// All chunks are here. Whether they are whole is checked at install, before anything changes.
    pub fn finish(self) -> SnapshotData {
        SnapshotData(Source::Received(self.chunks))
    }
}

/// Reads a stream back: `header` once, then `row` until the end.
pub(super) struct SnapshotParser {
    chunks: SnapshotChunks,
    buffer: BytesMut,
    count: u64,
}

impl SnapshotParser {
    pub(super) fn new(snapshot: SnapshotData) -> Self {
        Self { chunks: snapshot.into_chunks(), buffer: BytesMut::new(), count: 0 }
    }

    /// Makes sure that `need` bytes are there.
    fn fill(&mut self, need: usize) -> io::Result<()> {
        while self.buffer.len() < need {
            match self.chunks.next() {
                Some(chunk) => self.buffer.extend_from_slice(&chunk?),
                None => return Err(SnapshotError::Malformed("it ends in the middle").into()),
            }
        }
        Ok(())
    }

    pub(super) fn header(&mut self) -> io::Result<Covered> {
        self.fill(4)?;
        let length = self.buffer.get_u32() as usize;
        if length > SNAPSHOT_CHUNK_BYTES {
            return Err(SnapshotError::Malformed("its header is too long").into());
        }
        self.fill(length)?;
        let header = self.buffer.split_to(length);
        codec::decode(&header).map_err(|error| SnapshotError::Header(error.to_string()).into())
    }

    pub(super) fn row(&mut self) -> io::Result<Option<(Family, Bytes, Bytes)>> {
        self.fill(1)?;
        let number = self.buffer.get_u8();
        if number == 0 {
            self.fill(8)?;
            if self.buffer.get_u64() != self.count {
                return Err(SnapshotError::Malformed("it misses rows").into());
            }
            return Ok(None);
        }
        let family = Family::from_number(number).ok_or(SnapshotError::Malformed("it has an unknown family"))?;
        self.fill(6)?;
        let (key, value) = (usize::from(self.buffer.get_u16()), self.buffer.get_u32() as usize);
        self.fill(key.saturating_add(value))?;
        self.count += 1;
        let key = self.buffer.split_to(key).freeze();
        let value = self.buffer.split_to(value).freeze();
        Ok(Some((family, key, value)))
    }
}
