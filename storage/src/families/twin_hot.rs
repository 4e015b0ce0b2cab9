//! The only row that a report writes: attachment, reported section, the current mark.
//!
//! Key: the twin id as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::TwinId;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::TwinHot;

/// The row of one twin.
pub fn key(twin: &TwinId) -> Bytes {
    Bytes::copy_from_slice(twin.as_str().as_bytes())
}

/// The twin that a row belongs to.
pub fn decode(key: &[u8]) -> Result<TwinId, KeyError> {
    super::twin_id(FAMILY, key)
}
