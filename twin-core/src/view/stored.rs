//! A section where it lies: `[version, updated, root]`, see `section/encode.rs`.

use super::ViewError;
use crate::msgpack::{Item, Malformed, Reader};
use crate::numbers::{Version, WallTime};
use crate::section::{Base, STAMP_KEY};

/// Which section: says what its stamps look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tags,
    Desired,
    Reported,
}

/// A section where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredSection<'a> {
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) updated: WallTime,
    /// At the root object.
    pub(super) root: Reader<'a>,
    /// All of it.
    pub(super) whole: &'a [u8],
}

/// When a node last changed, as far as its section remembers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) at: Option<WallTime>,
    pub(super) version: Option<Version>,
}

/// A node that was entered; what it holds comes next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Entered {
    /// Its value comes next; `behind` it are so many values that a newer release knows.
    Leaf { changed: Changed, behind: usize },
    /// So many pairs of key and node come next.
    Object { changed: Changed, members: usize },
}

impl<'a> StoredSection<'a> {
    pub(super) fn read(whole: &'a [u8], kind: Kind) -> Result<Self, Malformed> {
        let mut reader = Reader::new(whole);
        if reader.array()? < 3 {
            return Err(Malformed::Expected("a section [version, updated, root]"));
        }
        let version = Version::new(reader.unsigned()?);
        Ok(Self { kind, version, updated: WallTime::new(reader.integer()?), root: reader, whole })
    }

    fn base(&self) -> Base {
        Base { version: self.version, updated: self.updated }
    }

    /// Enters the node that comes next.
    pub(super) fn enter(&self, reader: &mut Reader<'a>) -> Result<Entered, ViewError> {
        match reader.next_item()? {
            Item::Array(fields @ 2..) => Ok(Entered::Leaf { changed: self.stamp(reader, 2)?, behind: fields - 2 }),
            Item::Map(pairs @ 1..) => {
                // Written first, always.
                if reader.text()? != STAMP_KEY.as_bytes() {
                    return Err(Malformed::Expected("an object's stamp").into());
                }
                Ok(Entered::Object { changed: self.stamp(reader, 3)?, members: pairs - 1 })
            }
            _ => Err(Malformed::Expected("a stored node").into()),
        }
    }

    /// Enters the root: its members.
    pub(super) fn enter_root(&self) -> Result<(Reader<'a>, Changed, usize), ViewError> {
        let mut reader = self.root;
        match self.enter(&mut reader)? {
            Entered::Object { changed, members } => Ok((reader, changed, members)),
            Entered::Leaf { .. } => Err(Malformed::Expected("an object at a section's root").into()),
        }
    }

    /// A stamp; of `desired` it has so many parts.
    fn stamp(&self, reader: &mut Reader<'a>, parts: usize) -> Result<Changed, ViewError> {
        Ok(match self.kind {
            Kind::Tags => {
                reader.raw()?;
                Changed { at: None, version: None }
            }
            Kind::Reported => Changed { at: Some(self.base().time(reader.integer()?)), version: None },
            Kind::Desired => {
                if reader.array()? != parts {
                    return Err(Malformed::Expected("a stamp of desired").into());
                }
                let version = self.base().version(reader.integer()?);
                let at = self.base().time(reader.integer()?);
                if parts == 3 {
                    reader.raw()?;
                }
                Changed { at: Some(at), version: Some(version) }
            }
        })
    }
}

/// The key that comes next.
pub(super) fn key<'a>(reader: &mut Reader<'a>) -> Result<&'a str, ViewError> {
    text(reader.text()?)
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, ViewError> {
    std::str::from_utf8(bytes).map_err(|_| ViewError::Utf8)
}

/// Passes so many values.
pub(super) fn skip(reader: &mut Reader<'_>, values: usize) -> Result<(), ViewError> {
    for _ in 0..values {
        reader.raw()?;
    }
    Ok(())
}
