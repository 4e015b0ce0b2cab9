//! Floor of each home slot: everything of a twin id that is created again starts above it.
//!
//! Key: the slot's number, two bytes, big-endian. Key format version 1.

use bytes::Bytes;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::HomeSlot;

/// How many home slots there are. It is part of the data: a change moves every home row.
pub const HOME_SLOTS: u16 = 1024;

/// A home slot, below [`HOME_SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeSlot(u16);

impl HomeSlot {
    /// The slot with this number; `None` from [`HOME_SLOTS`] on.
    pub const fn new(number: u16) -> Option<Self> {
        if number < HOME_SLOTS { Some(Self(number)) } else { None }
    }

    /// The slot of a hash of a twin id. Which hash is the caller's business; it must never change.
    pub const fn of_hash(hash: u64) -> Self {
        Self((hash % HOME_SLOTS as u64) as u16)
    }

    /// Its number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// The row of one slot.
pub fn key(slot: HomeSlot) -> Bytes {
    Bytes::copy_from_slice(&slot.0.to_be_bytes())
}

/// The slot that a row belongs to.
pub fn decode(key: &[u8]) -> Result<HomeSlot, KeyError> {
    <[u8; 2]>::try_from(key)
        .ok()
        .and_then(|number| HomeSlot::new(u16::from_be_bytes(number)))
        .ok_or_else(|| KeyError::new(FAMILY, key, "not a slot number of two bytes below 1024"))
}
