//! Batches up, acks down: the streams of state, alarms and telemetry.

use std::sync::Arc;

use parking_lot::Mutex;
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::Span;
use twin_core::command::{Answer, Command, StateBody};
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::refusal::Refusal;

use super::backend::{Backend, Submission};
use super::clip::clipped;
use super::collector::{Collector, Gather};
use super::crediting::StreamCredit;
use super::ending::Ending;
use super::session::Session;
use super::stats::TransportStats;
use super::weight;
use crate::codec::{Frame, FrameReader, FrameWriter, UplinkFrame, decode_uplink};
use crate::credit::{Overdrawn, cost};
use crate::frames::batch::{BatchAck, EventBatch};
use crate::frames::incoming::IncomingBatch;
use crate::frames::session::{Credit, StreamClass};
use crate::intern::{InternError, InternReceiver, Received, ReceivedState};
use crate::limits::{BATCHES_IN_FLIGHT_MAX, FRAME_BYTES_MAX};
use crate::refuse::{RefusalCode, SessionRefusal};

/// What goes back on a stream.
enum Written {
    /// An ack with the permit of its batch, free again when the ack is written.
    Ack(BatchAck, OwnedSemaphorePermit),
    /// Credit that came later.
    Credit(Credit),
}

/// Reads one stream until it or the session ends.
///
/// **Back-pressure:** a frame is read only with a permit in hand, so that a stream has at most
/// [`BATCHES_IN_FLIGHT_MAX`] batches between its first byte read and its ack written. Beyond, bytes stay in QUIC's window and
/// the gateway cannot send.
pub(super) async fn uplink<B: Backend>(
    session: Arc<Session<B>>,
    class: StreamClass,
    mut reader: FrameReader<RecvStream>,
    send: SendStream,
) {
    let permits = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT_MAX));
    // One place more, for credit.
    let (acks, acks_out) = mpsc::channel(BATCHES_IN_FLIGHT_MAX + 1);
    let credit =
        session.first_credit.map(|first| StreamCredit::new(class, first, &session.backend, &session.link.stats));
    let later = acks.downgrade();
    let mut stream = Stream { class, tables: InternReceiver::new(), last_batch: None, acks, credit: credit.clone() };
    let ending = &session.link.ending;
    let read = async {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let skipped = reader.skipped();
            let frame = match reader.next_as(decode_uplink).await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return ending.frame_error(&error),
            };
            session.link.stats.frames_received.add(1);
            session.link.stats.frames_skipped.add(reader.skipped() - skipped);
            session.link.stats.bytes_received.add(reader.last_frame_bytes() as u64);
            if let Err(refusal) = stream.submit(&session, frame, reader.last_frame_bytes(), permit) {
                return ending.refuse(refusal);
            }
        }
        // The gateway finished the stream; what is in flight is still acked.
        drop(stream);
    };
    let both = async { tokio::join!(read, write_acks(send, acks_out, ending, &session.link.stats)) };
    let watch = async {
        if let Some(credit) = credit {
            credit.watch(later, |total| Written::Credit(Credit { total })).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        biased;
        () = ending.over() => {}
        _ = both => {}
        () = watch => {}
    }
}

struct Stream {
    class: StreamClass,
    tables: InternReceiver,
    last_batch: Option<u64>,
    acks: mpsc::Sender<Written>,
    /// `None`: the gateway knows no credit.
    credit: Option<Arc<StreamCredit>>,
}

impl Stream {
    /// Resolves the whole batch first, so that a batch which breaks the protocol changes nothing; then submits in order.
    fn submit<B: Backend>(
        &mut self,
        session: &Arc<Session<B>>,
        frame: UplinkFrame,
        frame_bytes: usize,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), SessionRefusal> {
        let messages = match &frame {
            UplinkFrame::State(batch) => batch.messages.len(),
            UplinkFrame::Other(Frame::EventBatch(batch)) => batch.messages.len(),
            UplinkFrame::Other(_) => 0,
        };
        let cost = cost(frame_bytes, messages);
        if let Some(credit) = &self.credit {
            let overdrawn = |error: Overdrawn| SessionRefusal::new(RefusalCode::CreditExceeded, error.to_string());
            credit.receive(cost).map_err(overdrawn)?;
        }
        let permit = Paid { permit, cost };
        match (self.class, frame) {
            (StreamClass::State | StreamClass::Alarms, UplinkFrame::State(batch)) => {
                self.submit_state(session, batch, permit)
            }
            (StreamClass::Telemetry, UplinkFrame::Other(Frame::EventBatch(batch))) => {
                self.submit_events(session, batch, permit)
            }
            (class, UplinkFrame::State(_)) => {
                Err(bad_frame(format!("a StateBatch does not belong on a {class:?} stream")))
            }
            (class, UplinkFrame::Other(frame)) => {
                Err(bad_frame(format!("a {} does not belong on a {class:?} stream", frame.kind_name())))
            }
        }
    }

    fn submit_state<B: Backend>(
        &mut self,
        session: &Arc<Session<B>>,
        batch: IncomingBatch,
        permit: Paid,
    ) -> Result<(), SessionRefusal> {
        self.check_number(batch.batch)?;
        let (number, trace) = (batch.batch, batch.trace.clone());
        let messages = self.tables.receive(batch).map_err(bad_index)?;
        if let Some(message) = messages.iter().find(|message| !belongs(self.class, &message.body)) {
            let (class, twin, first) = (self.class, &message.twin, message.first);
            return Err(bad_frame(format!("message {first} of {twin} is not of the class of its stream, {class:?}")));
        }
        let span = session.batch_span(self.class, number, messages.len(), trace.as_deref());
        let applied = messages.iter().enumerate().filter_map(|(index, message)| match &message.body {
            Received::Other(StateBody::DesiredApplied(version)) => Some((index as u32, message.twin.clone(), *version)),
            _ => None,
        });
        let applied = applied.collect();
        let collector = self.collector(session, number, messages.len(), applied, permit, span.clone());
        let _inside = span.as_ref().map(Span::enter);
        let alarms = self.class == StreamClass::Alarms;
        if alarms {
            session.link.stats.alarms.add(messages.len() as u64);
        }
        let submissions = messages.into_iter().enumerate().map(|(index, message)| {
            let ReceivedState { twin, stay, first, last, body } = message;
            let bytes = weight::message_bytes(&body);
            let sender = session.sender(stay);
            let command = match body {
                Received::Alarm(alarm) => Command::Alarm { sender, first, last, alarm: Some(alarm) },
                Received::Other(_) if alarms => Command::Alarm { sender, first, last, alarm: None },
                Received::Report(report) => Command::Report { sender, first, last, report },
                Received::Other(body) => Command::State { sender, first, last, body },
            };
            Submission { twin, command, bytes, reply: collector.reply(index) }
        });
        session.backend.submit_all(submissions.collect());
        collector.seal();
        Ok(())
    }

    fn submit_events<B: Backend>(
        &mut self,
        session: &Arc<Session<B>>,
        batch: EventBatch,
        permit: Paid,
    ) -> Result<(), SessionRefusal> {
        self.check_number(batch.batch)?;
        self.tables.add(batch.reset, batch.twins, Vec::new()).map_err(bad_index)?;
        for message in &batch.messages {
            self.tables.twin(message.twin).map_err(bad_index)?;
        }
        let span = session.batch_span(self.class, batch.batch, batch.messages.len(), batch.trace.as_deref());
        let collector = self.collector(session, batch.batch, batch.messages.len(), Vec::new(), permit, span.clone());
        let _inside = span.as_ref().map(Span::enter);
        let mut submissions = Vec::with_capacity(batch.messages.len());
        for (index, message) in batch.messages.into_iter().enumerate() {
            submissions.push(Submission {
                twin: self.tables.twin(message.twin).map_err(bad_index)?.clone(),
                bytes: weight::event_bytes(&message.name, &message.payload),
                command: Command::Event {
                    sender: session.sender(twin_core::numbers::Stay::default()),
                    boot: message.boot,
                    seq: message.seq,
                    name: message.name,
                    payload: message.payload,
                },
                reply: collector.reply(index),
            });
        }
        session.backend.submit_all(submissions);
        collector.seal();
        Ok(())
    }

    fn check_number(&mut self, batch: u64) -> Result<(), SessionRefusal> {
        if let Some(last) = self.last_batch.filter(|last| last.checked_add(1) != Some(batch)) {
            return Err(bad_frame(format!("batch {batch} follows batch {last}: numbers rise by one on a stream")));
        }
        self.last_batch = Some(batch);
        Ok(())
    }

    fn collector<B: Backend>(
        &self,
        session: &Arc<Session<B>>,
        batch: u64,
        messages: usize,
        applied: Vec<Applied>,
        permit: Paid,
        span: Option<Span>,
    ) -> Arc<Collector<BatchGather<B>>> {
        session.link.stats.batches.add(1);
        session.link.stats.messages.add(messages as u64);
        let open = Mutex::new((Vec::new(), Some(permit)));
        Collector::new(BatchGather {
            batch,
            open,
            applied,
            acks: self.acks.clone(),
            credit: self.credit.clone(),
            session: session.clone(),
            span,
        })
    }
}

/// May a stream of this class carry it? A class is what its messages are numbered in.
fn belongs(class: StreamClass, body: &Received) -> bool {
    match body {
        Received::Alarm(_) => class == StreamClass::Alarms,
        Received::Other(StateBody::Lost) => true,
        Received::Report(_) | Received::Other(_) => class == StreamClass::State,
    }
}

fn bad_frame(message: String) -> SessionRefusal {
    SessionRefusal::new(RefusalCode::BadFrame, message)
}

fn bad_index(error: InternError) -> SessionRefusal {
    bad_frame(error.to_string())
}

/// A message of the batch that says up to which version its device followed.
type Applied = (u32, TwinId, Version);

/// Refusals so far, and the batch's permit until the last answer is in.
type OpenBatch = (Vec<(u32, Refusal)>, Option<Paid>);

/// What a batch takes until it is answered.
struct Paid {
    permit: OwnedSemaphorePermit,
    /// Of the stream's credit.
    cost: u64,
}

/// Collects a batch's refusals; what is taken needs no note.
struct BatchGather<B: Backend> {
    batch: u64,
    open: Mutex<OpenBatch>,
    /// By their place in the batch, rising.
    applied: Vec<Applied>,
    acks: mpsc::Sender<Written>,
    credit: Option<Arc<StreamCredit>>,
    session: Arc<Session<B>>,
    /// Ends when the last answer is in.
    span: Option<Span>,
}

impl<B: Backend> Gather for BatchGather<B> {
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        let refusal = match result {
            Ok(Answer::Done) => return,
            Ok(Answer::Duplicate) => return self.session.link.stats.messages_duplicate.add(1),
            Ok(other) => Refusal::Invalid { message: format!("unexpected answer to a message: {other:?}") },
            Err(refusal) => refusal,
        };
        self.open.lock().0.push((index as u32, clipped(refusal)));
    }

    fn finish(&self) {
        // What is exported as its end is when it was left last.
        let _inside = self.span.as_ref().map(Span::enter);
        let (mut refused, permit) = std::mem::take(&mut *self.open.lock());
        refused.sort_by_key(|(index, _)| *index);
        let Session { backend, gateway, link, .. } = &*self.session;
        link.stats.messages_refused.add(refused.len() as u64);
        let mut not_its_own = refused.iter().filter(|(_, refusal)| is_not_its_own(refusal));
        if let Some((_, first)) = not_its_own.next() {
            backend.messages_refused(gateway, 1 + not_its_own.count() as u64, &first.to_string());
        }
        if !self.applied.is_empty() {
            let taken = |(index, ..): &&Applied| refused.binary_search_by_key(index, |(refused, _)| *refused).is_err();
            let known = self.applied.iter().filter(taken).map(|(_, twin, version)| (twin.clone(), *version));
            link.undelivered.forget(known);
        }
        let Some(Paid { permit, cost }) = permit else { return };
        let credit = self.credit.as_ref().map_or(0, |credit| credit.answer(cost));
        // Never full: there is a place per permit. Closed: the session is over and the gateway will send again.
        let _over = self.acks.try_send(Written::Ack(BatchAck { batch: self.batch, refused, credit }, permit));
    }
}

/// Would a gateway that keeps to its own devices never hear it? Where it does, the node was restored, or the device has had more gateways
/// than its twin remembers.
fn is_not_its_own(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::NotAttached | Refusal::OtherSite { .. })
}

async fn write_acks(send: SendStream, mut acks: mpsc::Receiver<Written>, ending: &Ending, stats: &TransportStats) {
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    while let Some(first) = acks.recv().await {
        let mut written = vec![first];
        while written.len() < BATCHES_IN_FLIGHT_MAX {
            match acks.try_recv() {
                Ok(next) => written.push(next),
                Err(_) => break,
            }
        }
        let mut permits = Vec::with_capacity(written.len());
        for answer in written {
            let frame = match answer {
                Written::Ack(ack, permit) => {
                    permits.push(permit);
                    stats.acks.add(1);
                    ack.into()
                }
                Written::Credit(credit) => credit.into(),
            };
            if let Err(error) = writer.put(&frame) {
                // Refusals are clipped so that this cannot be; an ack that never comes would block the stream for ever.
                tracing::error!(%error, "an ack cannot be sent");
                return ending.refuse(SessionRefusal::new(RefusalCode::Internal, error.to_string()));
            }
            stats.frames_sent.add(1);
        }
        if let Err(error) = writer.flush().await {
            return ending.frame_error(&error);
        }
        drop(permits);
    }
    // Nothing left to ack: the gateway finished its side, we finish ours.
    let _already_gone = writer.into_inner().finish();
}
