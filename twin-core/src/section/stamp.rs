//! What each section remembers of its nodes.

use std::fmt::Debug;

use crate::limits::{DESIRED_BYTES_MAX, REPORTED_BYTES_MAX, TAGS_BYTES_MAX};
use crate::numbers::{Version, WallTime};

/// Which section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SectionKind {
    /// Back office only.
    Tags,
    /// Back office writes, device reads.
    Desired,
    /// Device writes, back office reads.
    Reported,
}

impl SectionKind {
    /// Its name in the document.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }

    /// Its bound, in bytes of compact JSON.
    pub const fn size_bytes_max(self) -> usize {
        match self {
            Self::Tags => TAGS_BYTES_MAX,
            Self::Desired => DESIRED_BYTES_MAX,
            Self::Reported => REPORTED_BYTES_MAX,
        }
    }
}

/// What a section remembers about each node. The three kinds of stamp are the three sections: a type says what is paid
/// for, so that `reported` carries no versions and `tags` nothing at all.
pub trait Stamp: Copy + Debug + PartialEq + Send + Sync + 'static {
    /// The section that carries this stamp.
    const KIND: SectionKind;
    /// What an object remembers of its birth.
    type Birth: Copy + Debug + PartialEq + Send + Sync + 'static;
    /// The stamp of a change.
    fn new(version: Version, now: WallTime) -> Self;
    /// The birth of an object.
    fn birth(version: Version) -> Self::Birth;
    /// When the node last changed.
    fn changed_at(self) -> Option<WallTime>;
    /// Which version changed it last.
    fn changed_by(self) -> Option<Version>;
    /// Stored form of a leaf's stamp, relative to the section's version and time, so that it is mostly one byte.
    type LeafWire: serde::Serialize + serde::de::DeserializeOwned;
    /// Stored form of an object's stamp and birth.
    type ObjectWire: serde::Serialize + serde::de::DeserializeOwned;
    /// Encodes a leaf's stamp.
    fn leaf_to_wire(self, base: Base) -> Self::LeafWire;
    /// Decodes a leaf's stamp.
    fn leaf_from_wire(wire: Self::LeafWire, base: Base) -> Self;
    /// Encodes an object's stamp and birth.
    fn object_to_wire(self, born: Self::Birth, base: Base) -> Self::ObjectWire;
    /// Decodes an object's stamp and birth.
    fn object_from_wire(wire: Self::ObjectWire, base: Base) -> (Self, Self::Birth);
}

/// What stored stamps are relative to: the section's own version and time. Wrapping, hence without loss whatever a wall
/// clock does.
#[derive(Clone, Copy, Debug)]
pub struct Base {
    /// The section's version.
    pub version: Version,
    /// The section's time.
    pub updated: WallTime,
}

impl Base {
    fn age(self, version: Version) -> i64 {
        self.version.get().wrapping_sub(version.get()).cast_signed()
    }

    pub(crate) fn version(self, age: i64) -> Version {
        Version::new(self.version.get().wrapping_sub(age.cast_unsigned()))
    }

    fn age_ms(self, at: WallTime) -> i64 {
        self.updated.get().wrapping_sub(at.get())
    }

    pub(crate) fn time(self, age_ms: i64) -> WallTime {
        WallTime::new(self.updated.get().wrapping_sub(age_ms))
    }
}

/// Nothing per node: `tags`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unstamped;

impl Stamp for Unstamped {
    const KIND: SectionKind = SectionKind::Tags;
    type Birth = ();
    fn new(_: Version, _: WallTime) -> Self {
        Self
    }
    fn birth(_: Version) {}
    fn changed_at(self) -> Option<WallTime> {
        None
    }
    fn changed_by(self) -> Option<Version> {
        None
    }
    type LeafWire = ();
    type ObjectWire = ();
    fn leaf_to_wire(self, _: Base) {}
    fn leaf_from_wire((): (), _: Base) -> Self {
        Self
    }
    fn object_to_wire(self, (): (), _: Base) {}
    fn object_from_wire((): (), _: Base) -> (Self, ()) {
        (Self, ())
    }
}

/// A time per node: `reported`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timed {
    /// When it last changed.
    pub at: WallTime,
}

impl Stamp for Timed {
    const KIND: SectionKind = SectionKind::Reported;
    type Birth = ();
    fn new(_: Version, at: WallTime) -> Self {
        Self { at }
    }
    fn birth(_: Version) {}
    fn changed_at(self) -> Option<WallTime> {
        Some(self.at)
    }
    fn changed_by(self) -> Option<Version> {
        None
    }
    type LeafWire = i64;
    type ObjectWire = i64;
    fn leaf_to_wire(self, base: Base) -> i64 {
        base.age_ms(self.at)
    }
    fn leaf_from_wire(age_ms: i64, base: Base) -> Self {
        Self { at: base.time(age_ms) }
    }
    fn object_to_wire(self, (): (), base: Base) -> i64 {
        base.age_ms(self.at)
    }
    fn object_from_wire(age_ms: i64, base: Base) -> (Self, ()) {
        (Self { at: base.time(age_ms) }, ())
    }
}

/// A version and a time per node, and a birth per object: `desired`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Versioned {
    /// Which version changed it last.
    pub version: Version,
    /// When that was.
    pub at: WallTime,
}

impl Stamp for Versioned {
    const KIND: SectionKind = SectionKind::Desired;
    type Birth = Version;
    fn new(version: Version, at: WallTime) -> Self {
        Self { version, at }
    }
    fn birth(version: Version) -> Version {
        version
    }
    fn changed_at(self) -> Option<WallTime> {
        Some(self.at)
    }
    fn changed_by(self) -> Option<Version> {
        Some(self.version)
    }
    type LeafWire = (i64, i64);
    type ObjectWire = (i64, i64, i64);
    fn leaf_to_wire(self, base: Base) -> (i64, i64) {
        (base.age(self.version), base.age_ms(self.at))
    }
    fn leaf_from_wire((age, age_ms): (i64, i64), base: Base) -> Self {
        Self { version: base.version(age), at: base.time(age_ms) }
    }
    fn object_to_wire(self, born: Version, base: Base) -> (i64, i64, i64) {
        (base.age(self.version), base.age_ms(self.at), base.age(born))
    }
    fn object_from_wire((age, age_ms, born): (i64, i64, i64), base: Base) -> (Self, Version) {
        (Self { version: base.version(age), at: base.time(age_ms) }, base.version(born))
    }
}
