//! Numbered messages, in batches with ids and paths interned.
//!
//! Each stream has its own two tables, one of twin ids and one of property paths. A batch first adds to them (the next
//! free indexes, in order), then refers to them by index. `reset` empties both before adding; a sender must reset before a
//! table passes its bound in [`crate::limits`].

use serde::{Deserialize, Serialize};
use twin_core::alarm::Alarm;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay, Version};
use twin_core::path::Path;
use twin_core::record;
use twin_core::refusal::Refusal;
use twin_core::value::Value;

record! {
    /// Gateway to node, on the state stream; and on the stream of alarms, with bodies of that class.
    #[derive(Clone, Debug, PartialEq)]
    pub struct StateBatch {
        /// Rises by one per batch on the stream; the ack names it.
        pub batch: u64,
        /// Empty the tables first.
        pub reset: bool,
        /// Added to the table of twin ids.
        pub twins: Vec<TwinId>,
        /// Added to the table of paths.
        pub paths: Vec<Path>,
        /// At most [`crate::limits::BATCH_MESSAGES_MAX`].
        pub messages: Vec<StateMessage>,
        /// Trace context of the batch, if it is sampled (W3C traceparent).
        pub trace: Option<String> = None,
    }
}

record! {
    /// One message: covers the numbers `first..=last` of (stay, state class).
    #[derive(Clone, Debug, PartialEq)]
    pub struct StateMessage {
        /// Index into the table of twin ids.
        pub twin: u32,
        /// The stay that stamped it.
        pub stay: Stay,
        /// First number covered.
        pub first: Seq,
        /// How many numbers more; 0 unless coalesced or lost.
        pub more: u64,
        /// What.
        pub body: WireBody,
    }
}

/// Body of a state message. One-letter names on the wire: they are in every message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WireBody {
    /// Path operations on `reported`: index into the table of paths, and what to do there.
    #[serde(rename = "r")]
    Report(Vec<(u32, WireOp)>),
    /// See [`twin_core::command::StateBody::DesiredApplied`].
    #[serde(rename = "a")]
    DesiredApplied(Version),
    /// See [`twin_core::command::StateBody::DesiredRejected`]: path index, version, reason.
    #[serde(rename = "x")]
    DesiredRejected(u32, Version, String),
    /// See [`twin_core::command::StateBody::Lost`]. On the stream of alarms: alarms are lost.
    #[serde(rename = "l")]
    Lost,
    /// An alarm; only on the stream of alarms.
    #[serde(rename = "m")]
    Alarm(Box<Alarm>),
}

/// A path operation whose path stands in the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WireOp {
    /// See [`twin_core::op::Op::Set`].
    #[serde(rename = "s")]
    Set(Value),
    /// See [`twin_core::op::Op::Remove`].
    #[serde(rename = "d")]
    Remove,
    /// See [`twin_core::op::Op::Replace`].
    #[serde(rename = "o")]
    Replace(Value),
}

record! {
    /// Gateway to node, on the telemetry stream.
    #[derive(Clone, Debug, PartialEq)]
    pub struct EventBatch {
        /// Rises by one per batch on the stream; the ack names it.
        pub batch: u64,
        /// Empty the table first.
        pub reset: bool,
        /// Added to the table of twin ids.
        pub twins: Vec<TwinId>,
        /// At most [`crate::limits::BATCH_MESSAGES_MAX`].
        pub messages: Vec<EventMessage>,
        /// Trace context of the batch, if it is sampled (W3C traceparent).
        pub trace: Option<String> = None,
    }
}

record! {
    /// One event.
    #[derive(Clone, Debug, PartialEq)]
    pub struct EventMessage {
        /// Index into the table of twin ids.
        pub twin: u32,
        /// The boot that numbered it.
        pub boot: Boot,
        /// Number per (outbox, boot, twin).
        pub seq: Seq,
        /// Event name.
        pub name: String,
        /// Payload.
        pub payload: Value,
    }
}

record! {
    /// Node to gateway: everything in the batch is committed (or was before), except what is listed.
    #[derive(Clone, Debug, PartialEq)]
    pub struct BatchAck {
        /// The batch.
        pub batch: u64,
        /// Index of a message in the batch, and why it was not taken.
        pub refused: Vec<(u32, Refusal)>,
        /// Up to which total the stream may be used now, see [`crate::credit`]; 0: the session has no credit.
        pub credit: u64 = 0,
    }
}
