//! A twin's latest alarms. Only twins that ever raised one have a row.
//!
//! Key: the twin id as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::TwinId;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::TwinAlarms;

/// The row of one twin.
pub fn key(twin: &TwinId) -> Bytes {
    Bytes::copy_from_slice(twin.as_str().as_bytes())
}

/// The twin that a row belongs to.
pub fn decode(key: &[u8]) -> Result<TwinId, KeyError> {
    super::twin_id(FAMILY, key)
}
