//! Names of twins, sites and gateways. Constructors validate; nothing else makes one.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::{
    GATEWAY_NAME_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, SITE_ID_BYTES_MAX, TOKEN_NAME_BYTES_MAX, TWIN_ID_BYTES_MAX,
};

/// Why a name was refused. The message names the value and the rule it broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Empty, or longer than the bound.
    #[error("{} has 1 to {max} characters, this one has {length}", with_article(what))]
    Length {
        /// What was being named: "twin id", "site id" or "gateway name".
        what: &'static str,
        /// Length found, in bytes.
        length: usize,
        /// Longest allowed, in bytes.
        max: usize,
    },
    /// A character outside the allowed set.
    #[error("{character:?} at byte {at} is not allowed in {}; allowed are {allowed}", with_article(what))]
    Character {
        /// What was being named.
        what: &'static str,
        /// The offending character.
        character: char,
        /// Its byte offset.
        at: usize,
        /// The allowed set, for people.
        allowed: &'static str,
    },
    /// `.` or `..`, which a URL path cannot carry.
    #[error("{what} {value:?} is not allowed: it means a folder in a URL")]
    Dots {
        /// What was being named.
        what: &'static str,
        /// The value.
        value: String,
    },
}

fn with_article(what: &str) -> String {
    let article = if what.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {what}")
}

fn validate(
    what: &'static str,
    text: &str,
    max: usize,
    allowed: &'static str,
    permits: fn(char) -> bool,
) -> Result<(), IdError> {
    if text.is_empty() || text.len() > max {
        return Err(IdError::Length { what, length: text.len(), max });
    }
    if let Some((at, character)) = text.char_indices().find(|(_, c)| !permits(*c)) {
        return Err(IdError::Character { what, character, at, allowed });
    }
    if text == "." || text == ".." {
        return Err(IdError::Dots { what, value: text.to_owned() });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr, $allowed:literal, $permits:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Validates and takes the name.
            pub fn new(text: &str) -> Result<Self, IdError> {
                validate($what, text, $max, $allowed, $permits)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), &*self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

name!(
    /// A device's twin: 1-128 characters of `A-Z a-z 0-9 - . _ % # * ? ! ( ) , : = @ $ ' +`, but not
    /// `.` or `..`. The set is that of Azure IoT Hub device ids, so that fleets can move over.
    TwinId,
    "twin id",
    TWIN_ID_BYTES_MAX,
    "A-Z a-z 0-9 - . _ % # * ? ! ( ) , : = @ $ ' +",
    |c| c.is_ascii_alphanumeric() || "-._%#*?!(),:=@$'+".contains(c)
);

name!(
    /// One LAN: a store. 1-64 characters of `A-Z a-z 0-9 - . _`.
    SiteId,
    "site id",
    SITE_ID_BYTES_MAX,
    "A-Z a-z 0-9 - . _",
    |c| c.is_ascii_alphanumeric() || "-._".contains(c)
);

name!(
    /// A gateway within its site. 1-64 characters of `A-Z a-z 0-9 - . _`.
    GatewayName,
    "gateway name",
    GATEWAY_NAME_BYTES_MAX,
    "A-Z a-z 0-9 - . _",
    |c| c.is_ascii_alphanumeric() || "-._".contains(c)
);

name!(
    /// An admin token, for people: in listings and in the audit log. 1-64 characters of `A-Z a-z 0-9 - . _`.
    TokenName,
    "token name",
    TOKEN_NAME_BYTES_MAX,
    "A-Z a-z 0-9 - . _",
    |c| c.is_ascii_alphanumeric() || "-._".contains(c)
);

name!(
    /// A client's name for one change, the same each time that it is sent: 1-64 visible ASCII characters but `"` and `\`, and not
    /// `.` or `..`.
    IdempotencyKey,
    "idempotency key",
    IDEMPOTENCY_KEY_BYTES_MAX,
    "the visible ASCII characters but \" and \\",
    |c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')
);

impl SiteId {
    /// The site that always exists.
    pub fn default_site() -> Self {
        Self("default".into())
    }
}

/// A gateway, by site and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GatewayId {
    /// The site it belongs to and may speak for.
    pub site: SiteId,
    /// Its name within the site.
    pub name: GatewayName,
}

impl fmt::Display for GatewayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.site, self.name)
    }
}
