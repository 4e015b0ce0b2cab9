//! One row of a recording.

use twin_core::json::to_compact;
use twin_core::value::Value;

/// What one row reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The first row below the header is 1. Also the position that is stored with it.
    pub number: u64,
    /// Line of the file on which it begins.
    pub line: u64,
    /// The properties: a merge patch of `reported`.
    pub reported: Value,
}

impl Row {
    /// Goes on with a recording's mark.
    pub(crate) fn fingerprint(&self, hash: u64) -> u64 {
        fnv1a(hash, to_compact(&self.reported).as_bytes())
    }
}

/// FNV-1a: the same in every release, which a name in a file must be. Begun with 0.
pub(crate) fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    let start = if hash == 0 { 0xcbf2_9ce4_8422_2325 } else { hash };
    // The end of each part is told, so that ("ab", "c") is not ("a", "bc").
    bytes.iter().chain(&[0xff]).fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
