//! Paths to a property: the keys from the section's root. Shown as JSON pointers (RFC 6901).

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Keys from a section's root down to one property. Empty: the section itself. Arrays are leaves, so a
/// path never goes into one. Shared: every report clones the paths of its session's table.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Path(Arc<[Box<str>]>);

/// A text that is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a JSON pointer: it must be empty or begin with '/', and '~' stands only in ~0 and ~1 (RFC 6901)")]
pub struct PointerError(pub String);

impl Path {
    /// The section itself.
    pub fn root() -> Self {
        Self::default()
    }

    /// From keys.
    pub fn from_keys<K: Into<Box<str>>>(keys: impl IntoIterator<Item = K>) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }

    /// Reads a JSON pointer: `""` is the root, `"/a/b"` is `b` in `a`.
    pub fn from_pointer(pointer: &str) -> Result<Self, PointerError> {
        if pointer.is_empty() {
            return Ok(Self::root());
        }
        let error = || PointerError(pointer.to_owned());
        let rest = pointer.strip_prefix('/').ok_or_else(error)?;
        rest.split('/').map(|token| unescape(token).ok_or_else(error)).collect::<Result<_, _>>().map(Self)
    }

    /// The keys.
    pub fn keys(&self) -> &[Box<str>] {
        &self.0
    }

    /// Is it the section itself?
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Is `below` the same place, or inside it?
    pub fn covers(&self, below: &Self) -> bool {
        below.0.starts_with(&self.0)
    }

    /// This path with one key more.
    #[must_use]
    pub fn child(&self, key: &str) -> Self {
        Self(self.0.iter().cloned().chain(std::iter::once(key.into())).collect())
    }
}

fn unescape(token: &str) -> Option<Box<str>> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out.into())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for key in self.0.iter() {
            write!(f, "/{}", key.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}
