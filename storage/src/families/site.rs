//! Sites, in the directory: cell, epochs and enrolment.
//!
//! Key: the site as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::SiteId;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Site;

/// The row of one site.
pub fn key(site: &SiteId) -> Bytes {
    Bytes::copy_from_slice(site.as_str().as_bytes())
}

/// The site that a row belongs to.
pub fn decode(key: &[u8]) -> Result<SiteId, KeyError> {
    SiteId::new(super::text(FAMILY, key)?).map_err(|why| KeyError::new(FAMILY, key, why))
}
