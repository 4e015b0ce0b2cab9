//! Numbers that order things. Each is its own type, so that none can stand in for another.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps a raw number.
            pub const fn new(raw: $inner) -> Self {
                Self(raw)
            }

            /// The raw number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// `$version` of a section. Starts at 1 (or just above the [`Floor`]) and rises by exactly 1 per
    /// effective change. 0 means "knows nothing".
    Version,
    u64
);
number!(
    /// Counts the lives of a twin id, so that a deleted and re-created twin never gets old state.
    Incarnation,
    u64
);
number!(
    /// Committed number of an attachment, rising per twin; the highest is the current one. 0: never attached.
    AttachmentNo,
    u64
);
number!(
    /// Gapless number of a message within (stay, class), or of an event within (outbox, boot, twin). First is 1.
    Seq,
    u64
);
number!(
    /// Number of a gateway's start on one outbox. First is 1.
    Boot,
    u64
);
number!(
    /// Number of a direct method call, rising per twin.
    CallNo,
    u64
);
number!(
    /// Number of an alarm, rising by one with each alarm that the twin takes.
    AlarmNo,
    u64
);
number!(
    /// Everything of a twin id that is created again starts above its home slot's floor.
    Floor,
    u64
);
number!(
    /// A Raft group that stores the twins of some sites. Group 0 is the directory.
    CellId,
    u32
);
number!(
    /// Milliseconds since 1970 by some node's wall clock. Data for people: nothing is decided by it.
    WallTime,
    i64
);

/// One gateway's period of serving one device: the gateway's boot and a counter within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stay {
    /// The boot in which the stay was opened.
    pub boot: Boot,
    /// Counts the stays of one twin on one gateway within the boot. First is 1.
    pub counter: u32,
}

/// Identity of one outbox file: 16 random bytes, made when the file is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OutboxId(pub [u8; 16]);

// As bytes, not as an array of integers: two stand in every mark of a hot row.
impl Serialize for OutboxId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for OutboxId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = OutboxId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an outbox id of 16 bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<OutboxId, E> {
                bytes.try_into().map(OutboxId).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

impl fmt::Debug for OutboxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OutboxId({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Orders all owners of a twin: site epoch, then lineage, then Raft term. Receivers refuse lower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OwnerOrder {
    /// Rises with each move of the site.
    pub site_epoch: u64,
    /// Rises with each operator's recovery.
    pub lineage: u64,
    /// Raft term of the cell's leader.
    pub term: u64,
}
