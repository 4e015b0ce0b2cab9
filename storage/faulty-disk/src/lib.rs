//! A disk in memory that can lose power, run full and be slow: for tests of whatever keeps its data in redb.
//!
//! It keeps what was synced apart from what was only written. When the power goes, each write since the last sync is lost, kept or
//! torn at a sector, whatever came before or after it.

mod content;
mod disk;
mod fate;
mod file;

pub use disk::FaultyDisk;
pub use fate::{Chance, Fate};
