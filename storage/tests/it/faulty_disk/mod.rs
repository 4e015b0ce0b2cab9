//! A disk in memory that can lose power, run full and be slow.
//!
//! It keeps what was synced apart from what was only written. When the power goes, each write since the last sync is lost, kept or
//! torn at a sector, whatever came before or after it.

mod content;
mod disk;
mod fate;
mod file;

pub(crate) use disk::FaultyDisk;
pub(crate) use fate::{Chance, Fate};
