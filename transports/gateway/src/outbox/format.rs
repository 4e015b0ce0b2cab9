//! How the outbox lies on disk. One table per family of keys; rows are records that only ever grow at the end.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, OutboxId, Seq, Stay, Version};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::record;
use twin_core::value::Value;

/// `outbox` -> [`OutboxMeta`].
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Order of append -> [`Header`], then [`Body`].
pub(crate) const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
/// Twin id -> [`TwinRow`].
pub(crate) const TWINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("twins");
/// Name of a source -> position.
pub(crate) const POSITIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("positions");
/// Order of refusal -> [`crate::outbox::dead_letters::DeadLetter`].
pub(crate) const DEAD_LETTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead_letters");

/// Key of the one row of [`META`].
pub(crate) const META_KEY: &str = "outbox";
/// Version of this layout. A file of a newer one is refused.
pub(crate) const FORMAT_VERSION: u32 = 1;

record! {
    /// What the outbox is.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct OutboxMeta {
        /// [`FORMAT_VERSION`] that wrote it.
        pub(crate) format: u32,
        /// Identity.
        pub(crate) outbox: OutboxId,
        /// How often it was opened.
        pub(crate) boot: u64,
        /// Dead letters dropped for room so far.
        pub(crate) dead_letters_dropped: u64 = 0,
    }
}

record! {
    /// What must be known of a message to put it in order; the body follows it in the same row.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Header {
        /// Whose.
        pub(crate) twin: TwinId,
        /// The stay that stamped it; of an event only the boot counts.
        pub(crate) stay: Stay,
        /// First number covered.
        pub(crate) first: Seq,
        /// How many numbers more.
        pub(crate) more: u64,
        /// State or event.
        pub(crate) class: Class,
    }
}

record! {
    /// What must be known of a device after a restart.
    #[derive(Clone, Debug, PartialEq, Default)]
    pub(crate) struct TwinRow {
        /// Last attachment number heard of.
        pub(crate) saw: AttachmentNo,
        /// The last stay of ours that was attached, and under which number.
        pub(crate) attached: Option<(Stay, AttachmentNo)> = None,
    }
}

/// The class of a message: each has a numbering of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Reports and what else is numbered with them.
    #[serde(rename = "s")]
    State,
    /// Events.
    #[serde(rename = "e")]
    Event,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message of the twin-state class.
    State(StateBody),
    /// An event: name and payload.
    Event(String, Value),
}

/// A body as it is written.
#[derive(Serialize)]
enum StoredRef<'a> {
    #[serde(rename = "r")]
    Report(&'a [Op]),
    #[serde(rename = "a")]
    DesiredApplied(Version),
    #[serde(rename = "x")]
    DesiredRejected(&'a Path, Version, &'a str),
    #[serde(rename = "l")]
    Lost,
    #[serde(rename = "e")]
    Event(&'a str, &'a Value),
}

/// A body as it is read.
#[derive(Deserialize)]
enum Stored {
    #[serde(rename = "r")]
    Report(Vec<Op>),
    #[serde(rename = "a")]
    DesiredApplied(Version),
    #[serde(rename = "x")]
    DesiredRejected(Path, Version, String),
    #[serde(rename = "l")]
    Lost,
    #[serde(rename = "e")]
    Event(String, Value),
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match self {
            Self::State(StateBody::Report(ops)) => StoredRef::Report(ops),
            Self::State(StateBody::Packed(report)) => {
                return Self::State(StateBody::Report(report.unpack())).serialize(serializer);
            }
            Self::State(StateBody::DesiredApplied(version)) => StoredRef::DesiredApplied(*version),
            Self::State(StateBody::DesiredRejected { path, version, reason }) => {
                StoredRef::DesiredRejected(path, *version, reason)
            }
            Self::State(StateBody::Lost) => StoredRef::Lost,
            Self::Event(name, payload) => StoredRef::Event(name, payload),
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Report(ops) => Self::State(StateBody::Report(ops)),
            Stored::DesiredApplied(version) => Self::State(StateBody::DesiredApplied(version)),
            Stored::DesiredRejected(path, version, reason) => {
                Self::State(StateBody::DesiredRejected { path, version, reason })
            }
            Stored::Lost => Self::State(StateBody::Lost),
            Stored::Event(name, payload) => Self::Event(name, payload),
        })
    }
}

/// A row that this release cannot read.
#[derive(Debug, thiserror::Error)]
#[error("message {seq} in the outbox cannot be read: {message}")]
pub(crate) struct RowError {
    pub(crate) seq: u64,
    pub(crate) message: String,
}

/// Encodes a body, before the message has its number.
pub(crate) fn encode_body(body: &Body) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    // Writing MessagePack into a Vec fails for none of our types.
    rmp_serde::encode::write(&mut bytes, body).unwrap_or_else(|error| unreachable!("a body always encodes: {error}"));
    bytes
}

/// Puts the header before an encoded body.
pub(crate) fn encode_row(header: &Header, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + header.twin.as_str().len() + 40);
    rmp_serde::encode::write(&mut bytes, header)
        .unwrap_or_else(|error| unreachable!("a header always encodes: {error}"));
    bytes.extend_from_slice(body);
    bytes
}

/// Encodes a record for a row of its own.
pub(crate) fn encode_record<T: Serialize>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec(record).unwrap_or_else(|error| unreachable!("a record always encodes: {error}"))
}

/// Reads a row's header only.
pub(crate) fn decode_header(seq: u64, row: &[u8]) -> Result<Header, RowError> {
    rmp_serde::from_slice(row).map_err(|error| RowError { seq, message: error.to_string() })
}

/// Reads a whole row.
pub(crate) fn decode_row(seq: u64, row: &[u8]) -> Result<(Header, Body), RowError> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(row);
    let wrong = |error: rmp_serde::decode::Error| RowError { seq, message: error.to_string() };
    let header = Header::deserialize(&mut reader).map_err(wrong)?;
    let body = Body::deserialize(&mut reader).map_err(wrong)?;
    Ok((header, body))
}

#[cfg(test)]
mod tests {
    use twin_core::numbers::Boot;

    use super::*;

    #[test]
    fn a_row_is_read_as_it_was_written_and_its_header_alone_too() {
        let header = Header {
            twin: TwinId::new("label-1").unwrap(),
            stay: Stay { boot: Boot::new(3), counter: 2 },
            first: Seq::new(7),
            more: 1,
            class: Class::State,
        };
        let body = Body::State(StateBody::Report(vec![
            Op::Set { path: Path::from_keys(["price"]), value: Value::from(3.5) },
            Op::Remove { path: Path::from_keys(["old", "er"]) },
        ]));
        let row = encode_row(&header, &encode_body(&body));
        assert_eq!(decode_row(1, &row).unwrap(), (header.clone(), body));
        assert_eq!(decode_header(1, &row).unwrap(), header);
        assert!(decode_row(1, &row[..row.len() - 1]).is_err());
    }
}
