//! Batches up, acks down: one stream per class, opened when there is something to send.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::Notify;
use tracing::Span;
use twin_core::refusal::Refusal;
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::credit::cost;
use twin_transports::frames::session::{Open, StreamClass};
use twin_transports::intern::{PushError, Splicer, Stamp};
use twin_transports::limits::FRAME_BYTES_MAX;

use crate::core::sending::{Outgoing, Outgoings};
use crate::outbox::body::{Body, decode_body};
use crate::outbox::dictionary::INLINE;
use crate::outbox::file::{Filed, read_bodies};
use crate::outbox::format::Class;
use crate::session::due::Due;
use crate::session::end::End;
use crate::shared::Shared;

/// Sends one class until the session ends.
pub(crate) async fn uplink(shared: &Shared, connection: &Connection, class: Class, due: &Due) -> End {
    let first = next(shared, class).await;
    let stream_class = match class {
        Class::State => StreamClass::State,
        Class::Event => StreamClass::Telemetry,
        Class::Alarm => StreamClass::Alarms,
    };
    let batcher = Splicer::new(stream_class);
    let (send, recv) = match connection.open_bi().await {
        Ok(stream) => stream,
        Err(error) => return error.into(),
    };
    if class == Class::Alarm {
        // Before whatever else this side has to send. A stream that is gone says so at the first write.
        drop(send.set_priority(ALARM_PRIORITY));
    }
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    if let Err(error) = writer.put(&Open { class: stream_class }.into()) {
        return error.into();
    }
    let traced = Traced::default();
    tokio::select! {
        end = write(shared, class, writer, batcher, first, &traced, due) => end,
        end = read(shared, connection, class, FrameReader::new(recv, FRAME_BYTES_MAX), &traced, due) => end,
    }
}

/// QUIC sends what is of higher priority first; all else has 0.
const ALARM_PRIORITY: i32 = 1;

/// Spans of sampled batches that are on their way; no more than batches may be in flight.
#[derive(Default)]
struct Traced(Mutex<HashMap<u64, Span>>);

impl Traced {
    /// Opens a span for a batch if it is to be traced, and gives the trace context to send.
    fn sent(&self, shared: &Shared, batch: u64, messages: usize) -> Option<String> {
        let trace_batch = shared.trace_batch.as_ref()?;
        let span = tracing::info_span!("send", batch, messages);
        let traceparent = trace_batch(&span)?;
        self.0.lock().insert(batch, span);
        Some(traceparent)
    }

    /// The node answered: the span, if there is one, ends.
    fn acked(&self, batch: u64) {
        self.0.lock().remove(&batch);
    }
}

/// Waits for a batch that it is time to send.
async fn next(shared: &Shared, class: Class) -> Outgoings {
    let wake: &Notify = match class {
        Class::State => &shared.state_wake,
        Class::Event => &shared.event_wake,
        Class::Alarm => &shared.alarm_wake,
    };
    loop {
        if let Some(batch) = shared.with(|core, now| core.take_batch(class, now)) {
            return batch;
        }
        wake.notified().await;
    }
}

async fn write(
    shared: &Shared,
    class: Class,
    mut writer: FrameWriter<SendStream>,
    mut batcher: Splicer,
    first: Outgoings,
    traced: &Traced,
    due: &Due,
) -> End {
    let mut batch = first;
    loop {
        let number = batch.batch;
        let trace = traced.sent(shared, number, batch.messages.len());
        if let Err(error) = fill(shared, class, &mut batcher, batch) {
            return End::Failed(error);
        }
        if let Some(taken) = batcher.take(trace.as_deref()) {
            let (before, messages) = (writer.pending_bytes(), taken.len());
            if let Err(error) = writer.put_encoded(|out| taken.write(out)) {
                return error.into();
            }
            drop(taken);
            let cost = cost(writer.pending_bytes() - before, messages);
            shared.with(|core, _| core.charged(class, number, cost));
            if let Err(error) = writer.flush().await {
                return error.into();
            }
            due.asked(1);
        } else {
            traced.acked(number);
        }
        batch = next(shared, class).await;
    }
}

/// Puts the messages into the batcher. What does not fit goes with the next batch; what fits no frame, or cannot be read, is
/// treated as refused, and the batch ends before it.
fn fill(shared: &Shared, class: Class, batcher: &mut Splicer, batch: Outgoings) -> Result<(), String> {
    let bodies = bodies(shared, &batch.messages)?;
    for (place, (message, body)) in batch.messages.iter().zip(bodies).enumerate() {
        let Some(body) = body else {
            give_up(shared, class, batch.batch, place, message, "it cannot be read from the outbox");
            return Ok(());
        };
        match push(shared, class, batcher, message, &body) {
            Ok(()) => {}
            Err(PushError::Full) => {
                shared.with(|core, now| core.take_back(class, batch.batch, place, now));
                return Ok(());
            }
            Err(error) => {
                give_up(shared, class, batch.batch, place, message, &error.to_string());
                return Ok(());
            }
        }
    }
    Ok(())
}

fn give_up(shared: &Shared, class: Class, batch: u64, place: usize, message: &Outgoing, why: &str) {
    tracing::error!(twin = %message.twin, number = %message.first, why, "a message cannot be sent");
    let refusal = Refusal::Invalid { message: format!("the gateway cannot send the message: {why}") };
    shared.with(|core, now| core.cannot_send(class, batch, place, message.key, refusal, now));
}

fn push(
    shared: &Shared,
    class: Class,
    batcher: &mut Splicer,
    message: &Outgoing,
    body: &[u8],
) -> Result<(), PushError> {
    let stamp =
        Stamp { slot: message.slot, twin: &message.twin, stay: message.stay, first: message.first, last: message.last };
    if message.paths == 0 {
        return batcher.push(&stamp, body, &[]);
    }
    // For this message only: whoever holds it may not wait for the state's lock.
    let dictionary = shared.dictionary.read();
    if message.paths != INLINE {
        let paths = dictionary.paths();
        // More than the dictionary has: as good as unreadable.
        return batcher.push(&stamp, body, paths.get(..message.paths as usize).ok_or(PushError::BadRange)?);
    }
    match decode_body(class, body, &dictionary) {
        Ok(Body::State(body)) => batcher.push_translated(&stamp, &body, dictionary.paths()),
        // Events and alarms have no paths.
        Ok(Body::Event(..) | Body::Alarm(_)) | Err(_) => Err(PushError::BadRange),
    }
}

/// The bodies: from memory, or from disk where memory did not hold them.
fn bodies(shared: &Shared, messages: &[Outgoing]) -> Result<Vec<Option<Bytes>>, String> {
    let filed: Vec<Filed> = messages.iter().filter(|m| m.body.is_none()).map(|m| m.filed).collect();
    let mut read = Vec::new().into_iter();
    if !filed.is_empty() {
        let db = shared.core.lock().db.clone().ok_or("the gateway is shut down")?;
        read = read_bodies(&db, &filed).map_err(|error| format!("the outbox cannot be read: {error}"))?.into_iter();
    }
    Ok(messages
        .iter()
        .map(|message| match &message.body {
            Some(body) => Some(body.clone()),
            None => read.next().flatten(),
        })
        .collect())
}

/// Reads acks.
async fn read(
    shared: &Shared,
    connection: &Connection,
    class: Class,
    mut reader: FrameReader<RecvStream>,
    traced: &Traced,
    due: &Due,
) -> End {
    loop {
        match reader.next().await {
            Ok(Some(Frame::BatchAck(ack))) => {
                traced.acked(ack.batch);
                due.answered();
                let round_trip = connection.rtt();
                shared.with(|core, now: Duration| {
                    core.link_took(round_trip);
                    core.credited(class, ack.credit);
                    core.batch_acked(class, ack.batch, ack.refused, now);
                });
            }
            Ok(Some(Frame::Credit(credit))) => shared.with(|core, _| core.credited(class, credit.total)),
            Ok(Some(Frame::Refused(refused))) => return refused.into(),
            Ok(Some(other)) => {
                tracing::warn!(kind = other.kind_name(), "the node sent a frame that has no place here");
            }
            Ok(None) => return End::Failed("the node finished a stream of acks".into()),
            Err(error) => return error.into(),
        }
    }
}
