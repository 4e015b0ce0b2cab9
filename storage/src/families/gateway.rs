//! Gateways of each site: credentials and what is known of them.
//!
//! Key: the site as text, NUL, the gateway's name as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::{GatewayId, GatewayName, SiteId};

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Gateway;

/// The row of one gateway.
pub fn key(gateway: &GatewayId) -> Bytes {
    super::joined(gateway.site.as_str(), gateway.name.as_str())
}

/// The prefix that all gateways of a site share, for scans.
pub fn prefix(site: &SiteId) -> Bytes {
    super::joined(site.as_str(), "")
}

/// The gateway that a row belongs to.
pub fn decode(key: &[u8]) -> Result<GatewayId, KeyError> {
    let (site, name) = super::two_names(FAMILY, key)?;
    let site = SiteId::new(site).map_err(|why| KeyError::new(FAMILY, key, why))?;
    let name = GatewayName::new(name).map_err(|why| KeyError::new(FAMILY, key, why))?;
    Ok(GatewayId { site, name })
}
