//! A session: what its tasks share, and how it runs until it ends.

use std::sync::Arc;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{Instrument as _, Span};
use twin_core::command::Sender;
use twin_core::ids::GatewayId;
use twin_core::numbers::{OutboxId, Stay};

use super::backend::{Backend, SessionGrant};
use super::control::read_control;
use super::downlink::{Link, fetch_desired};
use super::options::OnTraceparent;
use super::outgoing::{Outgoing, write_outgoing};
use super::readings::{ViewsWaiting, readings};
use super::uplink::uplink;
use crate::codec::{Frame, FrameReader, FrameWriter, decode_datagram};
use crate::frames::session::{FirstCredit, Open, StreamClass};
use crate::limits::{FAREWELL_TIMEOUT, FRAME_BYTES_MAX, FRAME_BYTES_MAX_UNAUTHENTICATED};
use crate::refuse::{RefusalCode, SessionRefusal};

/// Shared by the tasks of one session.
pub(super) struct Session<B: Backend> {
    pub(super) backend: Arc<B>,
    pub(super) gateway: GatewayId,
    pub(super) outbox: OutboxId,
    pub(super) grant: SessionGrant,
    pub(super) link: Arc<Link>,
    pub(super) on_traceparent: Option<OnTraceparent>,
    pub(super) views_waiting: Arc<ViewsWaiting>,
    /// What the welcome grants each stream; `None`: the gateway knows no credit.
    pub(super) first_credit: Option<FirstCredit>,
}

impl<B: Backend> Session<B> {
    /// **Invariant:** gateway and outbox of every message are those of the proof, whatever the frames say.
    pub(super) fn sender(&self, stay: Stay) -> Sender {
        Sender { gateway: self.gateway.clone(), outbox: self.outbox, stay }
    }

    /// A span for a sampled batch; the others cost nothing.
    pub(super) fn batch_span(
        &self,
        class: StreamClass,
        batch: u64,
        messages: usize,
        traceparent: Option<&str>,
    ) -> Option<Span> {
        let traceparent = traceparent?;
        let span = tracing::info_span!("batch", ?class, batch, messages, traceparent);
        if let Some(link) = self.on_traceparent {
            link(&span, traceparent);
        }
        Some(span)
    }
}

/// Tells the backend that the session is over, however that came about.
pub(super) struct OpenSession<B: Backend> {
    pub(super) backend: Arc<B>,
    pub(super) gateway: GatewayId,
    pub(super) grant: SessionGrant,
}

impl<B: Backend> Drop for OpenSession<B> {
    fn drop(&mut self) {
        self.backend.close_session(&self.gateway, self.grant.session);
    }
}

/// Runs the session until it ends, and takes leave of the gateway.
pub(super) async fn run_session<B: Backend>(
    session: Arc<Session<B>>,
    open: OpenSession<B>,
    connection: &Connection,
    reader: FrameReader<RecvStream>,
    writer: FrameWriter<SendStream>,
    queue: mpsc::Receiver<Outgoing>,
) {
    let ending = &session.link.ending;
    let mut tasks = JoinSet::new();
    let here = Span::current();
    tasks.spawn(read_control(session.clone(), reader).instrument(here.clone()));
    tasks.spawn(accept_streams(session.clone(), connection.clone()).instrument(here.clone()));
    tasks.spawn(read_heartbeats(session.clone(), connection.clone()).instrument(here.clone()));
    let fetching = session.clone();
    tasks.spawn(async move { fetch_desired(&fetching).await }.instrument(here));
    let writer = tokio::select! {
        biased;
        _ = connection.closed() => {
            ending.gone();
            None
        }
        writer = write_outgoing(writer, queue, &session.link) => Some(writer),
    };
    // A writer that stopped by itself has no queue left: that, too, is the end.
    ending.gone();
    drop(open);
    if let Some(refusal) = ending.refusal() {
        tracing::info!(code = refusal.code.as_str(), message = refusal.message, "session ended");
        session.link.stats.count_refusal(refusal.code);
        if let Some(writer) = writer {
            farewell(writer, &refusal).await;
        }
        refusal.close(connection);
    } else {
        tracing::info!("session ended: the gateway is gone");
        connection.close(0_u32.into(), b"");
    }
    tasks.shutdown().await;
}

/// Says why, and waits a moment for the gateway to have read it.
pub(super) async fn farewell(mut writer: FrameWriter<SendStream>, refusal: &SessionRefusal) {
    let say = async {
        if writer.send(refusal.to_frame()).await.is_ok() && writer.get_mut().finish().is_ok() {
            let _read_or_gone = writer.get_mut().stopped().await;
        }
    };
    let _read_or_slow = tokio::time::timeout(FAREWELL_TIMEOUT, say).await;
}

/// Takes the streams that the gateway opens. Their number is bounded by QUIC ([`crate::limits::STREAMS_MAX`]).
async fn accept_streams<B: Backend>(session: Arc<Session<B>>, connection: Connection) {
    let mut streams = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = session.link.ending.over() => return,
            // Finished streams leave the set.
            Some(_) = streams.join_next() => continue,
            accepted = connection.accept_bi() => accepted,
        };
        let Ok((send, recv)) = accepted else { return session.link.ending.gone() };
        streams.spawn(open_stream(session.clone(), send, recv).instrument(Span::current()));
    }
}

async fn open_stream<B: Backend>(session: Arc<Session<B>>, send: SendStream, recv: RecvStream) {
    let mut reader = FrameReader::new(recv, FRAME_BYTES_MAX_UNAUTHENTICATED);
    let first = tokio::select! {
        biased;
        () = session.link.ending.over() => return,
        first = reader.next() => first,
    };
    match first {
        Ok(Some(Frame::Open(Open {
            class: class @ (StreamClass::State | StreamClass::Alarms | StreamClass::Telemetry),
        }))) => {
            reader.set_limit(FRAME_BYTES_MAX);
            uplink(session, class, reader, send).await;
        }
        Ok(Some(Frame::Open(Open { class: StreamClass::Readings }))) => {
            reader.set_limit(FRAME_BYTES_MAX);
            readings(session, reader, send).await;
        }
        Ok(Some(other)) => {
            let kind = other.kind_name();
            let message = format!(
                "a further stream begins with Open(State), Open(Alarms), Open(Telemetry) or Open(Readings), this one with {kind}"
            );
            session.link.ending.refuse(SessionRefusal::new(RefusalCode::BadFrame, message));
        }
        Ok(None) => {}
        Err(error) => session.link.ending.frame_error(&error),
    }
}

async fn read_heartbeats<B: Backend>(session: Arc<Session<B>>, connection: Connection) {
    let mut last = 0;
    loop {
        let datagram = tokio::select! {
            biased;
            () = session.link.ending.over() => return,
            datagram = connection.read_datagram() => datagram,
        };
        let Ok(datagram) = datagram else { return session.link.ending.gone() };
        match decode_datagram(&datagram) {
            // Datagrams overtake each other; an older one says nothing new.
            Ok(Some(heartbeat)) if heartbeat.number > last => {
                if let Err(error) = heartbeat.health.check() {
                    return session.link.ending.refuse(SessionRefusal::new(RefusalCode::BadFrame, error.to_string()));
                }
                last = heartbeat.number;
                session.link.stats.heartbeats.add(1);
                session.backend.heartbeat(&session.gateway, session.grant.session, heartbeat);
            }
            Ok(_) => {}
            Err(error) => session.link.ending.frame_error(&error),
        }
    }
}
