//! Making batches that the receiving side will take.

use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::op::Op;
use twin_core::value::Value;

use super::size::{BATCH_BYTES, MESSAGE_BYTES, OP_BYTES, text_bytes_max, value_bytes_max};
use super::tables::{Full, Tables};
use crate::frames::batch::{EventBatch, EventMessage, StateBatch, StateMessage, WireBody, WireOp};
use crate::limits::{BATCH_MESSAGES_MAX, FRAME_BYTES_MAX};

/// Why a message is not in the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The batch is full: take it, send it, and push the message again.
    #[error("the batch is full: take it and push the message again")]
    Full,
    /// The message fits no frame, even alone.
    #[error("the message needs more than a frame's {FRAME_BYTES_MAX} bytes; split it")]
    TooLarge,
    /// `last` is before `first`, or `first` is 0.
    #[error("numbers begin at 1 and a range does not end before it begins")]
    BadRange,
}

/// Collects what both classes of batches need: tables, count and size. One per stream.
struct Batch<M> {
    tables: Tables,
    sent: u64,
    messages: Vec<M>,
    bytes: usize,
}

impl<M> Default for Batch<M> {
    fn default() -> Self {
        Self { tables: Tables::default(), sent: 0, messages: Vec::new(), bytes: 0 }
    }
}

impl<M> Batch<M> {
    /// Adds what `make` makes with the tables; `bytes` bounds its encoded size without what it adds to the tables.
    fn push(&mut self, bytes: usize, make: impl Fn(&mut Tables) -> Result<M, Full>) -> Result<(), PushError> {
        if self.messages.len() == BATCH_MESSAGES_MAX {
            return Err(PushError::Full);
        }
        let mark = self.tables.mark();
        let made = match make(&mut self.tables) {
            Err(Full) if self.messages.is_empty() && !self.tables.is_empty() => {
                // At the beginning of a batch the tables may begin anew.
                self.tables.reset();
                make(&mut self.tables)
            }
            made => made,
        };
        let fits = BATCH_BYTES + self.bytes + bytes + self.tables.added_bytes() <= FRAME_BYTES_MAX;
        match made {
            Ok(message) if fits => {
                self.messages.push(message);
                self.bytes += bytes;
                Ok(())
            }
            _ if self.messages.is_empty() => {
                // Nothing of this batch was sent: whatever a refused message added is undone, a reset included.
                self.tables.reset();
                Err(PushError::TooLarge)
            }
            _ => {
                self.tables.rollback(mark);
                Err(PushError::Full)
            }
        }
    }

    fn next(&mut self) -> Option<(u64, Vec<M>)> {
        if self.messages.is_empty() {
            return None;
        }
        self.sent += 1;
        self.bytes = 0;
        Some((self.sent, std::mem::take(&mut self.messages)))
    }
}

/// Makes the batches of one state stream. A new stream needs a new batcher: tables and batch numbers begin anew.
#[derive(Default)]
pub struct StateBatcher(Batch<StateMessage>);

impl std::fmt::Debug for StateBatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateBatcher").field("sent", &self.0.sent).field("messages", &self.0.messages.len()).finish()
    }
}

impl StateBatcher {
    /// For a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages in the batch so far.
    pub fn len(&self) -> usize {
        self.0.messages.len()
    }

    /// No messages yet?
    pub fn is_empty(&self) -> bool {
        self.0.messages.is_empty()
    }

    /// Adds a message that covers `first..=last`.
    pub fn push(
        &mut self,
        twin: &TwinId,
        stay: Stay,
        first: Seq,
        last: Seq,
        body: &StateBody,
    ) -> Result<(), PushError> {
        let more = last.get().checked_sub(first.get()).filter(|_| first.get() > 0).ok_or(PushError::BadRange)?;
        self.0.push(MESSAGE_BYTES + body_bytes_max(body), |tables| {
            Ok(StateMessage { twin: tables.twin(twin)?, stay, first, more, body: wire_body(body, tables)? })
        })
    }

    /// The batch to send, if it has any message. Acks name its number; refusals name messages by the order of their pushes.
    pub fn take(&mut self, trace: Option<String>) -> Option<StateBatch> {
        let (batch, messages) = self.0.next()?;
        let added = self.0.tables.take_added();
        Some(StateBatch { batch, reset: added.reset, twins: added.twins, paths: added.paths, messages, trace })
    }
}

fn body_bytes_max(body: &StateBody) -> usize {
    match body {
        StateBody::Report(ops) => ops
            .iter()
            .map(|op| {
                OP_BYTES
                    + match op {
                        Op::Set { value, .. } | Op::Replace { value, .. } => value_bytes_max(value),
                        Op::Remove { .. } => 0,
                    }
            })
            .sum(),
        StateBody::DesiredRejected { reason, .. } => text_bytes_max(reason),
        StateBody::DesiredApplied(_) | StateBody::Lost => 0,
    }
}

fn wire_body(body: &StateBody, tables: &mut Tables) -> Result<WireBody, Full> {
    Ok(match body {
        StateBody::Report(ops) => WireBody::Report(
            ops.iter()
                .map(|op| {
                    let path = tables.path(op.path())?;
                    Ok((
                        path,
                        match op {
                            Op::Set { value, .. } => WireOp::Set(value.clone()),
                            Op::Remove { .. } => WireOp::Remove,
                            Op::Replace { value, .. } => WireOp::Replace(value.clone()),
                        },
                    ))
                })
                .collect::<Result<_, Full>>()?,
        ),
        StateBody::DesiredApplied(version) => WireBody::DesiredApplied(*version),
        StateBody::DesiredRejected { path, version, reason } => {
            WireBody::DesiredRejected(tables.path(path)?, *version, reason.clone())
        }
        StateBody::Lost => WireBody::Lost,
    })
}

/// Makes the batches of one telemetry stream. A new stream needs a new batcher.
#[derive(Default)]
pub struct EventBatcher(Batch<EventMessage>);

impl std::fmt::Debug for EventBatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventBatcher").field("sent", &self.0.sent).field("messages", &self.0.messages.len()).finish()
    }
}

impl EventBatcher {
    /// For a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Messages in the batch so far.
    pub fn len(&self) -> usize {
        self.0.messages.len()
    }

    /// No messages yet?
    pub fn is_empty(&self) -> bool {
        self.0.messages.is_empty()
    }

    /// Adds an event.
    pub fn push(&mut self, twin: &TwinId, boot: Boot, seq: Seq, name: &str, payload: &Value) -> Result<(), PushError> {
        if seq.get() == 0 {
            return Err(PushError::BadRange);
        }
        self.0.push(MESSAGE_BYTES + text_bytes_max(name) + value_bytes_max(payload), |tables| {
            Ok(EventMessage { twin: tables.twin(twin)?, boot, seq, name: name.to_owned(), payload: payload.clone() })
        })
    }

    /// The batch to send, if it has any message.
    pub fn take(&mut self, trace: Option<String>) -> Option<EventBatch> {
        let (batch, messages) = self.0.next()?;
        let added = self.0.tables.take_added();
        Some(EventBatch { batch, reset: added.reset, twins: added.twins, messages, trace })
    }
}
