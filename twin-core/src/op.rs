//! Path operations: what reports, deltas and log entries carry. Unlike RFC 7396 merge patches they compose:
//! applying two lists one after the other is applying their concatenation.

use serde::{Deserialize, Serialize};

use crate::path::Path;
use crate::value::Value;

/// One change of one property.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Op {
    /// Sets a leaf: a scalar, an array, or `{}` for "an object stands here" (which keeps an object that already
    /// does). Whatever non-object stood on the way becomes an object. The value is never a non-empty object and
    /// never null.
    Set {
        /// Where.
        path: Path,
        /// What.
        value: Value,
    },
    /// Removes the property and all below it. Removing what is not there changes nothing.
    Remove {
        /// Where.
        path: Path,
    },
    /// Puts an object in place of whatever was there; at the root, replaces the section.
    Replace {
        /// Where.
        path: Path,
        /// The new object.
        value: Value,
    },
}

impl Op {
    /// Where the operation acts.
    pub fn path(&self) -> &Path {
        match self {
            Self::Set { path, .. } | Self::Remove { path } | Self::Replace { path, .. } => path,
        }
    }
}
