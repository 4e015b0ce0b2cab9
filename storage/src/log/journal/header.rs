//! The header of the file: that it is ours, whose it is, how it is divided, how often it was opened.
//!
//! It is there twice, a page each, and written in turn, so that one copy is whole whatever becomes of a write.

use std::io;

use redb::StorageBackend;
use serde::{Deserialize, Serialize};

use crate::limits::LOG_NUMBER_MAX;

/// Where the slots begin.
pub(super) const SLOTS_AT: u64 = 2 * COPY_BYTES;
const COPY_BYTES: u64 = 4096;
const MAGIC: &[u8; 16] = b"twinmesh journal";
/// Format of the file. Raised with any change that an older release cannot read.
pub(crate) const JOURNAL_VERSION: u32 = 2;
/// From this version on the check is of the version as well.
const CHECKED_VERSION_SINCE: u32 = 2;
/// Magic, version, check and length stand before what the header says.
const PREFIX_BYTES: usize = 28;

/// What the header says. Written as a map, so that a later release may say more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Counts the openings and whatever else changed the header. The first is 1.
    pub(super) opening: u64,
    /// Bytes of a slot.
    pub(super) slot_bytes: u64,
    /// How many slots the file has at least: a file that is shorter was cut.
    #[serde(default)]
    pub(super) slots: u64,
    /// Whose file it is, once it was claimed.
    pub(super) node: Option<String>,
}

/// The check of a copy: CRC-32 of its version, as it is written, and of what it says.
fn check(version: u32, said: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version >= CHECKED_VERSION_SINCE {
        hasher.update(&version.to_be_bytes());
    }
    hasher.update(said);
    hasher.finalize()
}

/// What is at the beginning of the file.
#[derive(Debug)]
pub(super) enum FoundHeader {
    /// The file is empty.
    Nothing,
    Whole(Header),
    /// Of a newer release.
    Newer(u32),
    /// Not a file of ours.
    Foreign,
    /// Both copies are damaged.
    Damaged,
}

impl Header {
    /// Writes it over the older copy, durably.
    pub(super) fn write(&self, file: &dyn StorageBackend) -> io::Result<()> {
        let said = rmp_serde::to_vec_named(self).map_err(io::Error::other)?;
        let mut bytes = Vec::with_capacity(PREFIX_BYTES + said.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&JOURNAL_VERSION.to_be_bytes());
        bytes.extend_from_slice(&check(JOURNAL_VERSION, &said).to_be_bytes());
        bytes.extend_from_slice(&(said.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&said);
        if bytes.len() as u64 > COPY_BYTES {
            return Err(io::Error::other("the name of the node is too long for the header"));
        }
        bytes.resize(COPY_BYTES as usize, 0);
        file.write((self.opening % 2) * COPY_BYTES, &bytes)?;
        file.sync_data()
    }

    /// Reads the newer copy that is whole. Where the other one is damaged, or nothing (as before it is first written), it may have been
    /// newer, so what was written during the opening that it was of counts, and the next one is written in its place: hence an opening that
    /// is higher by two.
    pub(super) fn read(file: &dyn StorageBackend) -> io::Result<FoundHeader> {
        let len = file.len()?;
        if len == 0 {
            return Ok(FoundHeader::Nothing);
        }
        let mut best: Option<Header> = None;
        let (mut newer, mut ours, mut damaged) = (None, false, false);
        for copy in 0..2 {
            let mut bytes = vec![0; COPY_BYTES.min(len.saturating_sub(copy * COPY_BYTES)) as usize];
            file.read(copy * COPY_BYTES, &mut bytes)?;
            let Some((prefix, said)) =
                bytes.split_at_checked(PREFIX_BYTES).filter(|(start, _)| start.starts_with(MAGIC))
            else {
                damaged = true;
                continue;
            };
            ours = true;
            let number = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| prefix[at + byte]));
            let (version, checked, length) = (number(16), number(20), number(24) as usize);
            let Some(said) = said.get(..length).filter(|said| check(version, said) == checked) else {
                damaged = true;
                continue;
            };
            if version > JOURNAL_VERSION {
                newer = Some(version);
                continue;
            }
            let Ok(header) = rmp_serde::from_slice::<Self>(said) else {
                damaged = true;
                continue;
            };
            if best.as_ref().is_none_or(|best| best.opening < header.opening) {
                best = Some(header);
            }
        }
        Ok(match (newer, best) {
            (Some(version), _) => FoundHeader::Newer(version),
            (None, Some(header)) if header.opening > LOG_NUMBER_MAX => FoundHeader::Damaged,
            (None, Some(header)) => {
                let opening = header.opening + if damaged { 2 } else { 0 };
                FoundHeader::Whole(Self { opening, ..header })
            }
            (None, None) if ours => FoundHeader::Damaged,
            (None, None) => FoundHeader::Foreign,
        })
    }
}
