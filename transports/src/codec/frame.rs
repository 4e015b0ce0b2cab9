//! All kinds of frames, and their encoding.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use twin_core::msgpack::Reader;

use super::FrameError;
use super::skim::{head, skim};
use crate::frames::batch::{BatchAck, EventBatch, StateBatch};
use crate::frames::device::{
    Attach, AttachResults, Call, CallResult, Desired, DesiredReceived, Detach, DetachResults, Document, Get,
};
use crate::frames::incoming::{self, IncomingBatch, STATE_BATCH_KIND};
use crate::frames::session::{Challenge, Heartbeat, Hello, Open, Proof, Refused, Welcome};
use crate::limits::{ATTACH_ITEMS_MAX, BATCH_MESSAGES_MAX, DATAGRAM_BYTES_MAX, FRAME_DEPTH_MAX, FRAME_HEADER_BYTES};

macro_rules! frames {
    ($( $(#[$doc:meta])* $number:literal => $kind:ident ),* $(,)?) => {
        /// Any frame. The numbers of the kinds are part of the protocol: never moved, never used again.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Frame {
            $( #[doc = concat!("Kind ", stringify!($number), ".")] $kind($kind), )*
        }

        impl Frame {
            /// Name of the kind, for people.
            pub fn kind_name(&self) -> &'static str {
                match self { $( Self::$kind(_) => stringify!($kind), )* }
            }

            fn serialize_into(&self, out: impl std::io::Write) -> Result<(), rmp_serde::encode::Error> {
                let mut serializer = rmp_serde::Serializer::new(out);
                match self { $( Self::$kind(body) => ($number, body).serialize(&mut serializer), )* }
            }

            /// `None`: a kind that this release does not know.
            fn deserialize_body(kind: u64, body: &[u8]) -> Result<Option<Self>, rmp_serde::decode::Error> {
                let mut deserializer = rmp_serde::Deserializer::from_read_ref(body);
                deserializer.set_max_depth(FRAME_DEPTH_MAX + 1);
                match kind {
                    $( $number => $kind::deserialize(&mut deserializer).map(|body| Some(Self::$kind(body))), )*
                    _ => Ok(None),
                }
            }
        }

        $( impl From<$kind> for Frame {
            fn from(body: $kind) -> Self {
                Self::$kind(body)
            }
        } )*
    };
}

frames! {
    1 => Open,
    2 => Hello,
    3 => Challenge,
    4 => Proof,
    5 => Welcome,
    6 => Refused,
    7 => Heartbeat,
    16 => Attach,
    17 => AttachResults,
    18 => Detach,
    19 => DetachResults,
    20 => Get,
    21 => Document,
    22 => Desired,
    23 => DesiredReceived,
    24 => Call,
    25 => CallResult,
    32 => StateBatch,
    33 => EventBatch,
    34 => BatchAck,
}

impl Frame {
    /// Bounds on element counts, for both directions: what we would refuse we do not send.
    fn check_counts(&self) -> Result<(), FrameError> {
        let (what, count, max) = match self {
            Self::Attach(Attach { items, .. }) => ("attach items", items.len(), ATTACH_ITEMS_MAX),
            Self::AttachResults(AttachResults { results, .. }) => ("attach results", results.len(), ATTACH_ITEMS_MAX),
            Self::Detach(Detach { items, .. }) => ("detach items", items.len(), ATTACH_ITEMS_MAX),
            Self::DetachResults(DetachResults { results, .. }) => ("detach results", results.len(), ATTACH_ITEMS_MAX),
            Self::DesiredReceived(DesiredReceived { items }) => ("received items", items.len(), ATTACH_ITEMS_MAX),
            Self::StateBatch(StateBatch { messages, .. }) => ("messages", messages.len(), BATCH_MESSAGES_MAX),
            Self::EventBatch(EventBatch { messages, .. }) => ("messages", messages.len(), BATCH_MESSAGES_MAX),
            Self::BatchAck(BatchAck { refused, .. }) => ("refusals", refused.len(), BATCH_MESSAGES_MAX),
            _ => return Ok(()),
        };
        if count > max {
            return Err(FrameError::malformed(format!(
                "a {} has {count} {what}, the limit is {max}",
                self.kind_name()
            )));
        }
        Ok(())
    }
}

/// Appends the frame with its length to `out`. On an error `out` is as before.
pub fn encode(frame: &Frame, limit_bytes: usize, out: &mut BytesMut) -> Result<(), FrameError> {
    frame.check_counts()?;
    encode_with(limit_bytes, out, |out| {
        frame
            .serialize_into(out.writer())
            .map_err(|error| FrameError::malformed(format!("{} cannot be encoded: {error}", frame.kind_name())))
    })
}

/// Appends what `write` writes, with its length, to `out`. On an error `out` is as before.
pub(super) fn encode_with(
    limit_bytes: usize,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_bytes(0, FRAME_HEADER_BYTES);
    let written = write(out);
    let length = out.len() - start - FRAME_HEADER_BYTES;
    let result = match written {
        Ok(()) if length > limit_bytes => Err(FrameError::TooLong { claimed_bytes: length as u64, limit_bytes }),
        written => written,
    };
    if result.is_ok() {
        out[start..start + FRAME_HEADER_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    } else {
        out.truncate(start);
    }
    result
}

/// Reads the MessagePack of one frame, without its length. `None`: a kind that this release does not know, which is skipped.
pub fn decode(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    skim(bytes)?;
    let (kind, body_at) = head(bytes)?;
    let frame = Frame::deserialize_body(kind, &bytes[body_at..])
        .map_err(|error| FrameError::malformed(format!("body of kind {kind}: {error}")))?;
    if let Some(frame) = &frame {
        frame.check_counts()?;
    }
    Ok(frame)
}

/// A frame on a state or telemetry stream.
#[derive(Debug)]
pub enum UplinkFrame {
    /// A batch of state messages, its reports as they came.
    State(IncomingBatch),
    /// Any other kind.
    Other(Frame),
}

/// As [`decode`], for the streams on which batches come up.
pub fn decode_uplink(bytes: &Bytes) -> Result<Option<UplinkFrame>, FrameError> {
    // A batch's reader keeps the bounds that the skim keeps for serde.
    let (kind, body_at) = head(bytes)?;
    if kind != STATE_BATCH_KIND {
        return Ok(decode(bytes)?.map(UplinkFrame::Other));
    }
    let (batch, length) = incoming::read(&bytes.slice(body_at..))?;
    // What a newer release puts behind the body is skipped.
    let mut behind = Reader::new(&bytes[body_at + length..]);
    while !behind.is_at_end() {
        behind.raw().map_err(|error| FrameError::malformed(format!("behind the body of kind {kind}: {error}")))?;
    }
    Ok(Some(UplinkFrame::State(batch)))
}

/// A heartbeat as a datagram: the frame without a length, because the datagram has one.
pub fn encode_datagram(heartbeat: &Heartbeat) -> bytes::Bytes {
    let mut out = Vec::with_capacity(64);
    let result = (7, heartbeat).serialize(&mut rmp_serde::Serializer::new(&mut out));
    debug_assert!(result.is_ok(), "a heartbeat is numbers only, and a Vec takes every byte");
    out.into()
}

/// Reads a datagram. `None`: a kind that this release does not know, or does not expect in a datagram.
pub fn decode_datagram(bytes: &[u8]) -> Result<Option<Heartbeat>, FrameError> {
    if bytes.len() > DATAGRAM_BYTES_MAX {
        return Err(FrameError::TooLong { claimed_bytes: bytes.len() as u64, limit_bytes: DATAGRAM_BYTES_MAX });
    }
    Ok(match decode(bytes)? {
        Some(Frame::Heartbeat(heartbeat)) => Some(heartbeat),
        _ => None,
    })
}
