//! A file: what is durable of it, and what was only written.

use std::sync::Arc;

use crate::content::Content;
use crate::fate::{Chance, Fate};

/// What a disk writes at once, or not.
const SECTOR_BYTES: usize = 512;

#[derive(Clone)]
pub(super) enum Unsynced {
    Write { offset: u64, data: Arc<[u8]> },
    Len(u64),
}

impl Unsynced {
    pub(super) fn put(&self, content: &mut Content) {
        match self {
            Self::Write { offset, data } => content.write(*offset, data),
            Self::Len(len) => content.set_len(*len),
        }
    }

    /// Some sectors of it.
    pub(super) fn torn(&self, chance: &mut Chance) -> Option<Self> {
        match self {
            Self::Write { offset, data } => {
                // Sectors are those of the disk, not of the write.
                let sectors = (*offset as usize % SECTOR_BYTES + data.len()).div_ceil(SECTOR_BYTES);
                let kept = chance.below(sectors as u64) as usize;
                let bytes = (kept * SECTOR_BYTES).saturating_sub(*offset as usize % SECTOR_BYTES).min(data.len());
                Some(Self::Write { offset: *offset, data: data[..bytes].into() })
            }
            Self::Len(_) => None,
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
                Fate::AllLost => None,
                Fate::LastTorn if at == last => change.torn(chance),
                Fate::LastTorn | Fate::AllKept => Some(change),
                Fate::Mixed => match chance.below(3) {
                    0 => None,
                    1 => Some(change),
                    _ => change.torn(chance),
                },
            };
            if let Some(kept) = kept {
                kept.put(&mut self.durable);
            }
        }
        if !self.in_place {
            self.durable = Content::default();
        }
        self.now = self.durable.clone();
    }
}
