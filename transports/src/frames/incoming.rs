//! A [`StateBatch`](super::batch::StateBatch) as the node reads it: what is in every message is read without serde, and
//! reports stay the bytes that they are.

use bytes::Bytes;
use serde::Deserialize;
use twin_core::ids::TwinId;
use twin_core::msgpack::{Malformed, Reader};
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::path::Path;

use super::batch::WireBody;
use super::record::{BadRecord, fields, skip};
use crate::codec::FrameError;
use crate::limits::BATCH_MESSAGES_MAX;

/// Kind of the frame, see [`Frame`](crate::codec::Frame).
pub(crate) const STATE_BATCH_KIND: u64 = 32;

/// A batch whose indexes are not resolved yet.
#[derive(Debug, PartialEq)]
pub struct IncomingBatch {
    /// See [`StateBatch::batch`](super::batch::StateBatch::batch), and so on.
    pub batch: u64,
    /// Empty the tables first.
    pub reset: bool,
    /// Added to the table of twin ids.
    pub twins: Vec<TwinId>,
    /// Added to the table of paths.
    pub paths: Vec<Path>,
    /// At most [`BATCH_MESSAGES_MAX`].
    pub messages: Vec<IncomingMessage>,
    /// Trace context of the batch, if it is sampled (W3C traceparent).
    pub trace: Option<String>,
}

/// One message, see [`StateMessage`](super::batch::StateMessage).
#[derive(Debug, PartialEq)]
pub struct IncomingMessage {
    /// Index into the table of twin ids.
    pub twin: u32,
    /// The stay that stamped it.
    pub stay: Stay,
    /// First number covered.
    pub first: Seq,
    /// How many numbers more.
    pub more: u64,
    /// What.
    pub body: IncomingBody,
}

/// Body of a message.
#[derive(Debug, PartialEq)]
pub enum IncomingBody {
    /// A report's operations, still to be checked: the array inside [`WireBody::Report`].
    Report(Bytes),
    /// Any other.
    Other(WireBody),
}

/// Reads the body of a frame of this kind, without its kind; says how many bytes it took, too.
pub(crate) fn read(body: &Bytes) -> Result<(IncomingBatch, usize), FrameError> {
    Body { bytes: body }
        .batch()
        .map_err(|wrong| FrameError::malformed(format!("body of kind {STATE_BATCH_KIND}: {wrong}")))
}

#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("{0}")]
    Malformed(#[from] Malformed),
    #[error("{0}")]
    Serde(#[from] rmp_serde::decode::Error),
    #[error(transparent)]
    Record(#[from] BadRecord),
    #[error("a StateBatch has {0} messages, the limit is {BATCH_MESSAGES_MAX}")]
    TooMany(usize),
}

struct Body<'a> {
    bytes: &'a Bytes,
}

impl<'a> Body<'a> {
    fn batch(&self) -> Result<(IncomingBatch, usize), Wrong> {
        let mut reader = Reader::new(self.bytes);
        let fields = fields(&mut reader, 5, "StateBatch")?;
        let batch = reader.unsigned()?;
        let reset = reader.bool()?;
        let twins = serde(&mut reader)?;
        let paths = serde(&mut reader)?;
        let count = reader.array()?;
        if count > BATCH_MESSAGES_MAX {
            return Err(Wrong::TooMany(count));
        }
        let mut messages = Vec::with_capacity(count);
        for _ in 0..count {
            messages.push(self.message(&mut reader)?);
        }
        let trace = if fields > 5 { serde(&mut reader)? } else { None };
        skip(&mut reader, fields.saturating_sub(6))?;
        Ok((IncomingBatch { batch, reset, twins, paths, messages, trace }, reader.at()))
    }

    fn message(&self, reader: &mut Reader<'a>) -> Result<IncomingMessage, Wrong> {
        let fields = fields(reader, 5, "StateMessage")?;
        let twin = small(reader)?;
        if reader.array()? != 2 {
            return Err(Malformed::Expected("a stay [boot, counter]").into());
        }
        let stay = Stay { boot: Boot::new(reader.unsigned()?), counter: small(reader)? };
        let (first, more) = (Seq::new(reader.unsigned()?), reader.unsigned()?);
        let body = self.body(reader)?;
        skip(reader, fields - 5)?;
        Ok(IncomingMessage { twin, stay, first, more, body })
    }

    fn body(&self, reader: &mut Reader<'a>) -> Result<IncomingBody, Wrong> {
        if reader.pass(&[0x81, 0xa1, b'r']) {
            return Ok(IncomingBody::Report(self.bytes.slice_ref(reader.raw()?)));
        }
        Ok(IncomingBody::Other(serde(reader)?))
    }
}

/// A record has at least these fields; what a newer release adds is at its end.
fn small(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.unsigned()?).map_err(|_| Malformed::Expected("a number of 32 bits"))
}

fn serde<'a, T: Deserialize<'a>>(reader: &mut Reader<'a>) -> Result<T, Wrong> {
    let mut deserializer = rmp_serde::Deserializer::from_read_ref(reader.raw()?);
    deserializer.set_max_depth(crate::limits::FRAME_DEPTH_MAX + 1);
    Ok(T::deserialize(&mut deserializer)?)
}
