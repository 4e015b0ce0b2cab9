//! What goes down the control stream: a queue, the deltas of desired beside it, and one task that writes both.

use quinn::SendStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, sleep_until};

use super::downlink::Link;
use super::ending::Ending;
use super::stats::TransportStats;
use crate::codec::{Frame, FrameWriter};
use crate::limits::{CALLS_QUEUED_MAX, DELTAS_BUSY, DELTAS_LINGER, REQUESTS_IN_FLIGHT_MAX, WRITE_BYTES};

/// A frame with the permit that made room for it in the queue; the permit is free again when the frame is written.
pub(super) struct Outgoing {
    pub(super) frame: Frame,
    _permit: OwnedSemaphorePermit,
}

/// **Invariant:** the queue has a place for every permit of both kinds, so that `try_send` never finds it full.
const QUEUE_MAX: usize = REQUESTS_IN_FLIGHT_MAX + CALLS_QUEUED_MAX;

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
///
/// **Order:** deltas are taken before the queue is looked at, and written after what was in it by then. What a delta rests on (the
/// answer to the attach of its twin) was queued before the delta was made, so it goes first.
pub(super) async fn write_outgoing(
    mut writer: FrameWriter<SendStream>,
    mut queue: mpsc::Receiver<Outgoing>,
    link: &Link,
) -> FrameWriter<SendStream> {
    let ending = &link.ending;
    // When deltas are written, while any wait; and when the last ones were.
    let mut deltas_at: Option<Instant> = None;
    let mut deltas_sent_at: Option<Instant> = None;
    loop {
        let now = Instant::now();
        let (first, deltas) = tokio::select! {
            biased;
            () = ending.over() => return writer,
            first = queue.recv() => match first {
                Some(first) => (Some(first), None),
                None => return writer,
            },
            () = sleep_until(deltas_at.unwrap_or(now)), if deltas_at.is_some() => {
                let (deltas, are_more) = link.take_deltas();
                deltas_at = are_more.then_some(now);
                deltas_sent_at = Some(now);
                (None, deltas)
            }
            () = link.deltas_wait(), if deltas_at.is_none() => {
                let is_busy = deltas_sent_at.is_some_and(|sent_at| now < sent_at + DELTAS_BUSY);
                deltas_at = Some(if is_busy { now + DELTAS_LINGER } else { now });
                continue;
            }
        };
        // Held until written: this is what bounds the queue.
        let mut held = Vec::new();
        // Not more than there are: a gateway that goes on asking does not hold up its deltas.
        let queued = queue.len();
        let rest = std::iter::from_fn(|| queue.try_recv().ok()).take(queued);
        for outgoing in first.into_iter().chain(rest) {
            put(&mut writer, &outgoing.frame, &link.stats);
            held.push(outgoing);
            if writer.pending_bytes() >= WRITE_BYTES && !flush(&mut writer, ending).await {
                return writer;
            }
        }
        if let Some(deltas) = deltas {
            match writer.put_encoded(|out| deltas.write(out)) {
                Ok(()) => link.stats.frames_sent.add(1),
                Err(error) => {
                    // Its parts were measured. The gateway would wait for what it was to hear: it must begin anew.
                    ending.frame_error(&error);
                    return writer;
                }
            }
        }
        if !flush(&mut writer, ending).await {
            return writer;
        }
    }
}

/// `false`: the session is over.
async fn flush(writer: &mut FrameWriter<SendStream>, ending: &Ending) -> bool {
    tokio::select! {
        biased;
        () = ending.over() => false,
        flushed = writer.flush() => match flushed {
            Ok(()) => true,
            Err(error) => {
                ending.frame_error(&error);
                false
            }
        },
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
