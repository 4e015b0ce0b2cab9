//! Index for listing: the twins of each site, in order of their ids.
//!
//! Key: the site as text, NUL, the twin id as text. No name contains a NUL, so a site's twins are one
//! range and no site is a prefix of another's range. Key format version 1.

use bytes::Bytes;
use twin_core::ids::{SiteId, TwinId};

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::SiteTwin;

/// The row of one twin in its site.
pub fn key(site: &SiteId, twin: &TwinId) -> Bytes {
    super::joined(site.as_str(), twin.as_str())
}

/// The prefix that all twins of a site share, for scans.
pub fn prefix(site: &SiteId) -> Bytes {
    super::joined(site.as_str(), "")
}

/// The prefix that those twins of a site share whose ids begin with `ids`, for scans.
pub fn prefix_of_ids(site: &SiteId, ids: &str) -> Bytes {
    super::joined(site.as_str(), ids)
}

/// Behind all twins of a site, and before those of the next one: the key of no row.
pub fn end(site: &SiteId) -> Bytes {
    let mut end = prefix(site).to_vec();
    end.push(0xff);
    end.into()
}

/// The site and twin that a row belongs to.
pub fn decode(key: &[u8]) -> Result<(SiteId, TwinId), KeyError> {
    let (site, twin) = super::two_names(FAMILY, key)?;
    let site = SiteId::new(site).map_err(|why| KeyError::new(FAMILY, key, why))?;
    let twin = TwinId::new(twin).map_err(|why| KeyError::new(FAMILY, key, why))?;
    Ok((site, twin))
}
