//! All kinds of frames, and their encoding.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use twin_core::msgpack::Reader;

use super::FrameError;
use super::skim::{head, skim};
use crate::frames::batch::{BatchAck, EventBatch, StateBatch};
use crate::frames::device::{
    Attach, AttachResults, Call, CallResult, Desired, DesiredMany, DesiredReceived, Detach, DetachResults,
};
use crate::frames::incoming::{self, IncomingBatch, STATE_BATCH_KIND};
use crate::frames::readings::{self, GET_KIND, Get, VIEWS_KIND, Views};
use crate::frames::session::{Challenge, Credit, Heartbeat, Hello, Notice, Open, Proof, Refused, Welcome};
use crate::limits::{
    ATTACH_ITEMS_MAX, BATCH_MESSAGES_MAX, DATAGRAM_BYTES_MAX, DESIRED_ITEMS_MAX, FRAME_DEPTH_MAX, FRAME_HEADER_BYTES,
    READ_TWINS_MAX,
};

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
    8 => Notice,
    16 => Attach,
    17 => AttachResults,
    18 => Detach,
    19 => DetachResults,
    22 => Desired,
    23 => DesiredReceived,
    24 => Call,
    25 => CallResult,
    26 => Get,
    27 => Views,
    28 => DesiredMany,
    32 => StateBatch,
    33 => EventBatch,
    34 => BatchAck,
    35 => Credit,
}

impl Frame {
    /// May it hold a value of any depth? Then the depth is looked at before it is sent: the other side would end the session.
    fn carries_payload(&self) -> bool {
        matches!(self, Self::Call(_) | Self::CallResult(_) | Self::EventBatch(_))
    }

    /// Bounds on element counts, for both directions: what we would refuse we do not send.
    fn check_counts(&self) -> Result<(), FrameError> {
        let (what, count, max) = match self {
            Self::Attach(Attach { items, .. }) => ("attach items", items.len(), ATTACH_ITEMS_MAX),
            Self::AttachResults(AttachResults { results, .. }) => ("attach results", results.len(), ATTACH_ITEMS_MAX),
            Self::Detach(Detach { items, .. }) => ("detach items", items.len(), ATTACH_ITEMS_MAX),
            Self::DetachResults(DetachResults { results, .. }) => ("detach results", results.len(), ATTACH_ITEMS_MAX),
            Self::DesiredReceived(DesiredReceived { items }) => ("received items", items.len(), ATTACH_ITEMS_MAX),
            Self::DesiredMany(DesiredMany { items }) => ("deltas", items.len(), DESIRED_ITEMS_MAX),
            Self::StateBatch(StateBatch { messages, .. }) => ("messages", messages.len(), BATCH_MESSAGES_MAX),
            Self::EventBatch(EventBatch { messages, .. }) => ("messages", messages.len(), BATCH_MESSAGES_MAX),
            Self::Get(Get { twins, .. }) => ("twins", twins.len(), READ_TWINS_MAX),
            Self::Views(Views { results, .. }) => ("results", results.len(), READ_TWINS_MAX),
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
        let from = out.len();
        frame
            .serialize_into((&mut *out).writer())
            .map_err(|error| FrameError::malformed(format!("{} cannot be encoded: {error}", frame.kind_name())))?;
        if frame.carries_payload() { skim(&out[from..]) } else { Ok(()) }
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
    skip_behind(&bytes[body_at + length..], kind)?;
    Ok(Some(UplinkFrame::State(batch)))
}

/// As [`decode`], for the stream of readings: views are the frame's own bytes, not copies.
pub fn decode_reading(bytes: &Bytes) -> Result<Option<Frame>, FrameError> {
    // Their readers keep the bounds that the skim keeps for serde.
    let (kind, body_at) = head(bytes)?;
    let (frame, length) = match kind {
        GET_KIND => readings::read_get(&bytes[body_at..]).map(|(get, length)| (Frame::Get(get), length))?,
        VIEWS_KIND => {
            readings::read_views(&bytes.slice(body_at..)).map(|(views, length)| (Frame::Views(views), length))?
        }
        _ => return decode(bytes),
    };
    skip_behind(&bytes[body_at + length..], kind)?;
    Ok(Some(frame))
}

/// What a newer release puts behind a body is skipped.
fn skip_behind(bytes: &[u8], kind: u64) -> Result<(), FrameError> {
    let mut behind = Reader::new(bytes);
    while !behind.is_at_end() {
        behind.raw().map_err(|error| FrameError::malformed(format!("behind the body of kind {kind}: {error}")))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::batch::EventMessage;
    use crate::frames::device::CallOutcome;
    use crate::limits::FRAME_BYTES_MAX;
    use twin_core::ids::TwinId;
    use twin_core::limits::NESTING_MAX;
    use twin_core::numbers::{Boot, CallNo, OwnerOrder, Seq};
    use twin_core::rules::check_payload;
    use twin_core::value::{Members, Value};

    fn frames(payload: &Value) -> [Frame; 3] {
        let twin = TwinId::new("t").unwrap();
        let call = CallNo::new(1);
        let (method, name) = ("m".to_owned(), "e".to_owned());
        let owner = OwnerOrder { site_epoch: 1, lineage: 1, term: 1 };
        let message = EventMessage { twin: 0, boot: Boot::new(1), seq: Seq::new(1), name, payload: payload.clone() };
        let answered = CallOutcome::Answered { status: 200, payload: payload.clone() };
        [
            Call { twin: twin.clone(), owner, call, method, payload: payload.clone(), timeout_ms: 1 }.into(),
            CallResult { twin: twin.clone(), call, outcome: answered }.into(),
            EventBatch { batch: 1, reset: true, twins: vec![twin], messages: vec![message], trace: None }.into(),
        ]
    }

    #[test]
    fn the_deepest_payload_that_the_rules_admit_fits_every_frame() {
        let array = |inner| Value::Array(vec![inner]);
        let object = |inner| Value::Object(Members::from([("k".into(), inner)]));
        for nest in [&array as &dyn Fn(Value) -> Value, &object] {
            for innermost in [Value::Null, Value::Array(Vec::new()), Value::Object(Members::new())] {
                let (mut deepest, mut value) = (None, innermost);
                while check_payload(&value, "event").is_ok() {
                    deepest = Some(value.clone());
                    value = nest(value);
                }
                for frame in frames(&deepest.unwrap()) {
                    let mut out = BytesMut::new();
                    encode(&frame, FRAME_BYTES_MAX, &mut out).unwrap();
                    assert_eq!(decode(&out[FRAME_HEADER_BYTES..]).unwrap(), Some(frame));
                }
            }
        }
    }

    #[test]
    fn what_the_other_side_would_not_take_is_not_sent() {
        let deep = (0..=FRAME_DEPTH_MAX).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        const { assert!(FRAME_DEPTH_MAX > NESTING_MAX) };
        for frame in frames(&deep) {
            let mut out = BytesMut::from(&b"before"[..]);
            assert!(encode(&frame, FRAME_BYTES_MAX, &mut out).unwrap_err().to_string().contains("too deep"));
            assert_eq!(&out[..], b"before");
        }
    }
}
