//! Ids that the devices of a site may have, where its enrolment is a list. In the site's cell, like its twins: the directory grows
//! with sites, not with devices.
//!
//! Key: the site as text, NUL, the twin id as text. No name contains a NUL, so a site's twins are one
//! range and no site is a prefix of another's range. Key format version 1.

use bytes::Bytes;
use twin_core::ids::{SiteId, TwinId};

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::SiteDevice;

/// The row of one id in its site.
pub fn key(site: &SiteId, twin: &TwinId) -> Bytes {
    super::joined(site.as_str(), twin.as_str())
}

/// The prefix that all ids of a site share, for scans.
pub fn prefix(site: &SiteId) -> Bytes {
    super::joined(site.as_str(), "")
}

/// The site and id that a row belongs to.
pub fn decode(key: &[u8]) -> Result<(SiteId, TwinId), KeyError> {
    let (site, twin) = super::two_names(FAMILY, key)?;
    let site = SiteId::new(site).map_err(|why| KeyError::new(FAMILY, key, why))?;
    let twin = TwinId::new(twin).map_err(|why| KeyError::new(FAMILY, key, why))?;
    Ok((site, twin))
}
