//! A file: what is durable of it, and what was only written.

use std::sync::Arc;

use crate::content::Content;
use crate::fate::{Chance, Fate};

/// What a disk writes at once, or not.
const SECTOR_BYTES: usize = 512;

#[derive(Clone)]
pub(super) enum Unsynced {
    Write {
        offset: u64,
        data: Arc<[u8]>,
    },
    Len(u64),
    /// As `Len`, and all pages up to there are there.
    Allocated(u64),
}

impl Unsynced {
    pub(super) fn put(&self, content: &mut Content) {
        match self {
            Self::Write { offset, data } => content.write(*offset, data),
            Self::Len(len) => content.set_len(*len),
            Self::Allocated(len) => content.allocate(*len),
        }
    }

    /// Some sectors of it: the first ones, or any.
    pub(super) fn torn(&self, chance: &mut Chance) -> Vec<Self> {
        let Self::Write { offset, data } = self else { return Vec::new() };
        // Sectors are those of the disk, not of the write.
        let before = *offset as usize % SECTOR_BYTES;
        let sectors = (before + data.len()).div_ceil(SECTOR_BYTES);
        let part = |sector: usize| {
            let from = (sector * SECTOR_BYTES).saturating_sub(before);
            let to = ((sector + 1) * SECTOR_BYTES - before).min(data.len());
            Self::Write { offset: offset + from as u64, data: data[from..to].into() }
        };
        if chance.below(2) == 0 {
            let kept = chance.below(sectors as u64) as usize;
            (0..kept).map(part).collect()
        } else {
            (0..sectors).filter(|_| chance.below(4) > 0).map(part).collect()
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct FaultyFile {
    /// In its place: a file that is not is gone after a power cut.
    pub(super) in_place: bool,
    pub(super) durable: Content,
    pub(super) now: Content,
    pub(super) unsynced: Vec<Unsynced>,
}

impl FaultyFile {
    pub(super) fn cut(&mut self, fate: Fate, chance: &mut Chance) {
        let unsynced = std::mem::take(&mut self.unsynced);
        let last = unsynced.len().saturating_sub(1);
        for (at, change) in unsynced.into_iter().enumerate() {
            let kept = match fate {
                Fate::AllLost => Vec::new(),
                Fate::LastTorn if at == last => change.torn(chance),
                Fate::LastTorn | Fate::AllKept => vec![change],
                Fate::Mixed => match chance.below(3) {
                    0 => Vec::new(),
                    1 => vec![change],
                    _ => change.torn(chance),
                },
            };
            for kept in kept {
                kept.put(&mut self.durable);
            }
        }
        if !self.in_place {
            self.durable = Content::default();
        }
        self.now = self.durable.clone();
    }
}
