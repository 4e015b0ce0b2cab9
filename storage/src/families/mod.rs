//! The key families of the state: one file each, so that whoever opens the folder sees the database.
//!
//! Each family is one table of `state.redb`, named as its file; the key on disk is the group's number
//! (four bytes, big-endian) and then the family's key. One table a family, rather than one table for all:
//! the keys are shorter by a byte, a family's rows and statistics stand by themselves (`home` rows of
//! 40 B do not share leaves with documents), and a family can be dropped or rewritten by itself when its
//! format changes. A checkpoint writes each table in key order, which is what redb is fastest at.
//!
//! Values are opaque here: the owners encode them, with a version of their own in front. Key formats are
//! versioned by the file's format version; a change of one raises it.

pub mod cell;
pub mod cluster;
pub mod gateway;
pub mod home;
pub mod home_slot;
pub mod node;
pub mod site;
pub mod site_device;
pub mod site_twin;
pub mod token;
pub mod twin_alarms;
pub mod twin_desired;
pub mod twin_head;
pub mod twin_hot;
pub mod twin_marks;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use twin_core::ids::TwinId;

/// How many families there are.
pub(crate) const FAMILY_COUNT: usize = 15;

macro_rules! families {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $table:literal;)*) => {
        /// A key family. The numbers are on disk and in frames: never reused, never changed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Family {
            $($(#[$doc])* $name = $number,)*
        }

        impl Family {
            /// All families, in order of their numbers.
            pub const ALL: [Self; FAMILY_COUNT] = [$(Self::$name,)*];

            /// Its table in `state.redb`.
            pub const fn table_name(self) -> &'static str {
                match self {
                    $(Self::$name => $table,)*
                }
            }
        }
    };
}

families! {
    /// What a report writes, see [`twin_hot`].
    TwinHot = 1, "twin_hot";
    /// Tags, versions and bookkeeping of a twin, see [`twin_head`].
    TwinHead = 2, "twin_head";
    /// `desired` with its versions, see [`twin_desired`].
    TwinDesired = 3, "twin_desired";
    /// Marks of other gateways, see [`twin_marks`].
    TwinMarks = 4, "twin_marks";
    /// Whether a twin exists and where, see [`home`].
    Home = 5, "home";
    /// Floors, see [`home_slot`].
    HomeSlot = 6, "home_slot";
    /// The listing index, see [`site_twin`].
    SiteTwin = 7, "site_twin";
    /// Credentials, see [`gateway`].
    Gateway = 8, "gateway";
    /// Directory: sites, see [`site`].
    Site = 9, "site";
    /// Directory: cells, see [`cell`].
    Cell = 10, "cell";
    /// Directory: nodes, see [`node`].
    Node = 11, "node";
    /// Directory: the cluster's own row, see [`cluster`].
    Cluster = 12, "cluster";
    /// Directory: admin tokens, see [`token`].
    Token = 13, "token";
    /// Ids that a site's devices may have, see [`site_device`].
    SiteDevice = 14, "site_device";
    /// The latest alarms, see [`twin_alarms`].
    TwinAlarms = 15, "twin_alarms";
}

impl Family {
    /// Its stable number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The family with this number, if this release knows it.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// Its place in arrays by family.
    pub(crate) const fn at(self) -> usize {
        self as usize - 1
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.table_name())
    }
}

impl Serialize for Family {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

impl<'de> Deserialize<'de> for Family {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        Self::from_number(number).ok_or_else(|| {
            serde::de::Error::custom(format_args!("key family {number} is not known to this release: upgrade the node"))
        })
    }
}

/// A key on disk that its family cannot have written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key {key:02x?} is not one of family {family}: {why}")]
pub struct KeyError {
    /// The family.
    pub family: Family,
    /// The key as found, without the group.
    pub key: Vec<u8>,
    /// What is wrong with it.
    pub why: String,
}

impl KeyError {
    fn new(family: Family, key: &[u8], why: impl fmt::Display) -> Self {
        Self { family, key: key.to_vec(), why: why.to_string() }
    }
}

fn text(family: Family, key: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(key).map_err(|why| KeyError::new(family, key, why))
}

fn twin_id(family: Family, key: &[u8]) -> Result<TwinId, KeyError> {
    TwinId::new(text(family, key)?).map_err(|why| KeyError::new(family, key, why))
}

/// Splits a key of two names at the NUL, which no name contains.
fn two_names(family: Family, key: &[u8]) -> Result<(&str, &str), KeyError> {
    text(family, key)?.split_once('\0').ok_or_else(|| KeyError::new(family, key, "no NUL between two names"))
}

fn joined(first: &str, second: &str) -> bytes::Bytes {
    let mut key = Vec::with_capacity(first.len() + 1 + second.len());
    key.extend_from_slice(first.as_bytes());
    key.push(0);
    key.extend_from_slice(second.as_bytes());
    key.into()
}

#[cfg(test)]
mod tests {
    use twin_core::ids::{GatewayId, GatewayName, SiteId, TokenName};
    use twin_core::numbers::CellId;

    use super::*;
    use crate::consensus::NodeId;

    #[test]
    fn numbers_of_families_are_gapless_and_stable() {
        for (at, family) in Family::ALL.into_iter().enumerate() {
            assert_eq!(family.at(), at);
            assert_eq!(Family::from_number(family.number()), Some(family));
        }
        assert_eq!(Family::TwinHot.number(), 1);
        assert_eq!(Family::Cluster.number(), 12);
        assert_eq!(Family::from_number(0), None);
        assert_eq!(Family::from_number(16), None);
    }

    #[test]
    fn every_key_reads_back_as_what_it_was_made_of() {
        let twin = TwinId::new("shelf-1*'(a)").expect("a valid id");
        let site = SiteId::new("store.17").expect("a valid id");
        let gateway = GatewayId { site: site.clone(), name: GatewayName::new("bs-3").expect("a valid name") };
        assert_eq!(twin_hot::decode(&twin_hot::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(twin_head::decode(&twin_head::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(twin_desired::decode(&twin_desired::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(twin_marks::decode(&twin_marks::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(twin_alarms::decode(&twin_alarms::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(home::decode(&home::key(&twin)).as_ref(), Ok(&twin));
        assert_eq!(site_device::decode(&site_device::key(&site, &twin)), Ok((site.clone(), twin.clone())));
        assert_eq!(site_twin::decode(&site_twin::key(&site, &twin)), Ok((site.clone(), twin)));
        let token = TokenName::new("ci").expect("a valid name");
        assert_eq!(token::decode(&token::key(&token)), Ok(token));
        assert_eq!(gateway::decode(&gateway::key(&gateway)), Ok(gateway));
        assert_eq!(site::decode(&site::key(&site)), Ok(site));
        assert_eq!(cell::decode(&cell::key(CellId::new(7))), Ok(CellId::new(7)));
        assert_eq!(node::decode(&node::key(NodeId::new(9))), Ok(NodeId::new(9)));
        let slot = home_slot::HomeSlot::new(1023).expect("the last slot");
        assert_eq!(home_slot::decode(&home_slot::key(slot)), Ok(slot));
        assert_eq!(cluster::decode(&cluster::key()), Ok(()));
    }

    #[test]
    fn a_foreign_key_is_refused_with_its_family() {
        assert_eq!(home::decode(b"a b").map_err(|e| e.family), Err(Family::Home));
        assert_eq!(site_twin::decode(b"site").map_err(|e| e.family), Err(Family::SiteTwin));
        assert_eq!(cell::decode(b"123").map_err(|e| e.family), Err(Family::Cell));
        assert_eq!(home_slot::decode(&[4, 0]).map_err(|e| e.family), Err(Family::HomeSlot));
        assert!(home::decode(&[0xff]).is_err());
    }
}
