//! The cluster's own row, in the directory: its identity and the counters from which ids are given out.
//!
//! Key: one fixed byte, since there is one row. Key format version 1.

use bytes::Bytes;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Cluster;

/// The row.
pub fn key() -> Bytes {
    Bytes::from_static(&[0])
}

/// Checks that a key is the row's.
pub fn decode(key: &[u8]) -> Result<(), KeyError> {
    if key == [0] { Ok(()) } else { Err(KeyError::new(FAMILY, key, "the family has one row, with key 00")) }
}
