//! Admin tokens, in the directory: scope, end, and a hash. The token itself is stored nowhere.
//!
//! Key: the token's name as text. Key format version 1.

use bytes::Bytes;
use twin_core::ids::TokenName;

use super::{Family, KeyError};

/// This family.
pub const FAMILY: Family = Family::Token;

/// The row of one token.
pub fn key(name: &TokenName) -> Bytes {
    Bytes::copy_from_slice(name.as_str().as_bytes())
}

/// The token that a row belongs to.
pub fn decode(key: &[u8]) -> Result<TokenName, KeyError> {
    TokenName::new(super::text(FAMILY, key)?).map_err(|why| KeyError::new(FAMILY, key, why))
}
