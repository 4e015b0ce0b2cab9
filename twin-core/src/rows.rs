//! The rows of a twin: MessagePack records behind one byte of format version. Records grow at their end (see
//! [`record!`](crate::record)); a new format is only for what cannot be said that way.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use smallvec::SmallVec;

mod hot;

pub use hot::HotRow;

use crate::convergence::Rejection;
use crate::ids::{GatewayId, SiteId};
use crate::numbers::{CallNo, Incarnation, Version};
use crate::once::KeyRecord;
use crate::record;
use crate::section::Tags;

/// Format of every row here.
const FORMAT: u8 = 1;

/// Which of a twin's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowKind {
    /// Does the twin exist, and where.
    Home,
    /// All that a report writes.
    Hot,
    /// Tags, progress of desired, calls.
    Head,
    /// Desired with its versions and graves.
    Desired,
    /// Marks of gateways other than the current one.
    Marks,
    /// The latest alarms.
    Alarms,
}

impl RowKind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Home, Self::Hot, Self::Head, Self::Desired, Self::Marks, Self::Alarms];

    /// Its name, for messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Hot => "hot",
            Self::Head => "head",
            Self::Desired => "desired",
            Self::Marks => "marks",
            Self::Alarms => "alarms",
        }
    }
}

impl fmt::Display for RowKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// After-images of a twin's rows; `None`: the row is gone. A report changes one.
pub type RowImages = SmallVec<[(RowKind, Option<Bytes>); 1]>;

/// A set of row kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangedRows(u8);

impl ChangedRows {
    /// None.
    pub const NONE: Self = Self(0);
    /// Every row.
    pub const ALL: Self = Self(0b11_1111);
    /// The rows of a new life: all but alarms, which it has none of. (Rows of the life before went with it.)
    pub const BORN: Self = Self(0b1_1111);

    /// Adds one.
    pub fn insert(&mut self, kind: RowKind) {
        self.0 |= 1 << kind as u8;
    }

    /// This set and one more.
    #[must_use]
    pub fn with(mut self, kind: RowKind) -> Self {
        self.insert(kind);
        self
    }

    /// Is it in?
    pub fn contains(self, kind: RowKind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// Is none in?
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are in.
    pub fn iter(self) -> impl Iterator<Item = RowKind> {
        RowKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl From<RowKind> for ChangedRows {
    fn from(kind: RowKind) -> Self {
        Self::NONE.with(kind)
    }
}

/// A twin's rows as stored; `None`: no such row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// [`RowKind::Home`].
    pub home: Option<Bytes>,
    /// [`RowKind::Hot`].
    pub hot: Option<Bytes>,
    /// [`RowKind::Head`].
    pub head: Option<Bytes>,
    /// [`RowKind::Desired`].
    pub desired: Option<Bytes>,
    /// [`RowKind::Marks`].
    pub marks: Option<Bytes>,
    /// [`RowKind::Alarms`].
    pub alarms: Option<Bytes>,
}

impl Rows {
    /// One row.
    pub fn get(&self, kind: RowKind) -> Option<&Bytes> {
        match kind {
            RowKind::Home => self.home.as_ref(),
            RowKind::Hot => self.hot.as_ref(),
            RowKind::Head => self.head.as_ref(),
            RowKind::Desired => self.desired.as_ref(),
            RowKind::Marks => self.marks.as_ref(),
            RowKind::Alarms => self.alarms.as_ref(),
        }
    }

    /// Puts an after-image in.
    pub fn set(&mut self, kind: RowKind, row: Option<Bytes>) {
        *match kind {
            RowKind::Home => &mut self.home,
            RowKind::Hot => &mut self.hot,
            RowKind::Head => &mut self.head,
            RowKind::Desired => &mut self.desired,
            RowKind::Marks => &mut self.marks,
            RowKind::Alarms => &mut self.alarms,
        } = row;
    }

    /// Puts after-images in.
    pub fn apply(&mut self, images: impl IntoIterator<Item = (RowKind, Option<Bytes>)>) {
        for (kind, row) in images {
            self.set(kind, row);
        }
    }
}

record! {
    /// Whether the twin exists, and where. About 40 bytes.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct HomeRow {
        /// Its site.
        pub site: SiteId,
        /// Which life of the id.
        pub incarnation: Incarnation,
    }
}

record! {
    /// A method call that waits for its answer.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct OpenCall {
        /// Its number.
        pub call: CallNo,
        /// The method.
        pub method: String,
        /// The gateway it went to.
        pub gateway: GatewayId,
    }
}

record! {
    /// All else but desired. What comes later (transfers) is added at the end.
    #[derive(Clone, Debug, PartialEq)]
    pub struct HeadRow {
        /// Its site.
        pub site: SiteId,
        /// Which life of the id.
        pub incarnation: Incarnation,
        /// The back office's labels.
        pub tags: Tags,
        /// The current gateway received desired up to here.
        pub delivered: Version,
        /// The device acknowledged desired up to here.
        pub acked: Version,
        /// The latest method call.
        pub last_call: CallNo,
        /// Calls that wait for an answer.
        pub open_calls: Vec<OpenCall> = Vec::new(),
        /// What the device refused, oldest first.
        pub rejections: Vec<Rejection> = Vec::new(),
        /// Changes that had an idempotency key, oldest first.
        pub keys: Vec<KeyRecord> = Vec::new(),
    }
}

/// A row that this release cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Nothing in it.
    #[error("the {row} row is empty: restore a backup with `twind restore --from FILE --data-dir DIR`")]
    Empty {
        /// Which.
        row: RowKind,
    },
    /// Written by a newer release.
    #[error("the {row} row has format {found}, this release reads {FORMAT}: upgrade the node")]
    Format {
        /// Which.
        row: RowKind,
        /// The format found.
        found: u8,
    },
    /// Not a record of its kind.
    #[error("the {row} row is damaged ({source}): restore a backup with `twind restore --from FILE --data-dir DIR`")]
    Damaged {
        /// Which.
        row: RowKind,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
    /// The twin exists, but not all of it.
    #[error(
        "the {row} row is missing although the twin exists: restore a backup with `twind restore --from FILE --data-dir DIR`"
    )]
    Missing {
        /// Which.
        row: RowKind,
    },
    /// Rows of different lives.
    #[error(
        "the home row is of incarnation {home}, the head row of {head}: restore a backup with `twind restore --from FILE --data-dir DIR`"
    )]
    Torn {
        /// What the home row says.
        home: Incarnation,
        /// What the head row says.
        head: Incarnation,
    },
}

/// Encodes a row.
pub fn encode(row: &impl Serialize) -> Bytes {
    // Most rows are smaller; growing twice is cheap against the records' own allocations.
    let mut bytes = Vec::with_capacity(512);
    bytes.push(FORMAT);
    if let Err(error) = rmp_serde::encode::write(&mut bytes, row) {
        unreachable!("plain records always encode to memory: {error}");
    }
    bytes.into()
}

/// Decodes a row.
pub fn decode<T: DeserializeOwned>(row: RowKind, bytes: &[u8]) -> Result<T, RowError> {
    match bytes.split_first() {
        None => Err(RowError::Empty { row }),
        Some((&FORMAT, body)) => rmp_serde::from_slice(body).map_err(|source| RowError::Damaged { row, source }),
        Some((&found, _)) => Err(RowError::Format { row, found }),
    }
}
