//! Home row of a twin id, in the cell of its home slot: whether the twin exists, and where it is.
//!
//! Key: the twin id as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::TwinId;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Home;

/// The row of one twin.
pub fn key(twin: &TwinId) -> Bytes {
    Bytes::copy_from_slice(twin.as_str().as_bytes())
}

/// The twin that a row belongs to.
pub fn decode(key: &[u8]) -> Result<TwinId, KeyError> {
    super::twin_id(FAMILY, key)
}
