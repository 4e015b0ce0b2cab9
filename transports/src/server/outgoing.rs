//! What goes down the control stream: one queue, one task that writes it.

use quinn::SendStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::ending::Ending;
use super::stats::TransportStats;
use crate::codec::{Frame, FrameWriter};
use crate::limits::{CALLS_QUEUED_MAX, DESIRED_IN_FLIGHT_MAX, REQUESTS_IN_FLIGHT_MAX, WRITE_BYTES};

/// A frame with the permit that made room for it in the queue; the permit is free again when the frame is written.
pub(super) struct Outgoing {
    pub(super) frame: Frame,
    _permit: OwnedSemaphorePermit,
}

/// **Invariant:** the queue has a place for every permit of the three kinds, so that `try_send` never finds it full.
const QUEUE_MAX: usize = REQUESTS_IN_FLIGHT_MAX + CALLS_QUEUED_MAX + DESIRED_IN_FLIGHT_MAX;

/// The sending end; cheap to clone, never blocks.
#[derive(Clone)]
pub(super) struct OutgoingSender(mpsc::Sender<Outgoing>);

pub(super) fn outgoing() -> (OutgoingSender, mpsc::Receiver<Outgoing>) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (OutgoingSender(sender), receiver)
}

impl OutgoingSender {
    /// `false`: the session is over.
    pub(super) fn send(&self, frame: impl Into<Frame>, permit: OwnedSemaphorePermit) -> bool {
        self.0.try_send(Outgoing { frame: frame.into(), _permit: permit }).is_ok()
    }
}

/// Writes until the session is over, several frames at a time. Gives the stream back for the farewell.
pub(super) async fn write_outgoing(
    mut writer: FrameWriter<SendStream>,
    mut queue: mpsc::Receiver<Outgoing>,
    ending: &Ending,
    stats: &TransportStats,
) -> FrameWriter<SendStream> {
    loop {
        let first = tokio::select! {
            biased;
            () = ending.over() => return writer,
            first = queue.recv() => first,
        };
        let Some(mut outgoing) = first else { return writer };
        // Held until written: this is what bounds the queue.
        let mut permits = Vec::new();
        loop {
            put(&mut writer, &outgoing.frame, stats);
            permits.push(outgoing);
            if writer.pending_bytes() >= WRITE_BYTES {
                break;
            }
            match queue.try_recv() {
                Ok(next) => outgoing = next,
                Err(_) => break,
            }
        }
        let flushed = tokio::select! {
            biased;
            () = ending.over() => return writer,
            flushed = writer.flush() => flushed,
        };
        if let Err(error) = flushed {
            ending.frame_error(&error);
            return writer;
        }
    }
}

fn put(writer: &mut FrameWriter<SendStream>, frame: &Frame, stats: &TransportStats) {
    match writer.put(frame) {
        Ok(()) => stats.frames_sent.add(1),
        Err(error) => {
            stats.frames_unsendable.add(1);
            tracing::error!(kind = frame.kind_name(), %error, "a frame cannot be sent");
        }
    }
}
