//! Readings up, views down: the stream of readings.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{RecvStream, SendStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use twin_core::command::{Answer, Command};
use twin_core::refusal::Refusal;
use twin_core::view::Audience;

use super::backend::{Backend, Submission};
use super::clip::clipped;
use super::collector::{Collector, Gather};
use super::ending::Ending;
use super::session::Session;
use super::stats::TransportStats;
use super::weight;
use crate::codec::{Frame, FrameReader, FrameWriter};
use crate::frames::readings::{Get, result_bytes, write_views};
use crate::limits::{
    FRAME_BYTES_MAX, READ_AGAIN_AFTER_MS, READ_BYTES_MAX, READS_IN_FLIGHT_MAX, VIEWS_FRAME_BYTES,
    VIEWS_WAITING_BYTES_MAX,
};
use crate::refuse::{RefusalCode, SessionRefusal};

/// Reads one stream until it or the session ends.
///
/// **Back-pressure:** a frame is read only with a permit in hand, which is free again when its answer is written, so that a
/// stream has at most [`READS_IN_FLIGHT_MAX`] answers of [`READ_BYTES_MAX`] waiting; all streams of the node together
/// [`VIEWS_WAITING_BYTES_MAX`].
pub(super) async fn readings<B: Backend>(
    session: Arc<Session<B>>,
    mut reader: FrameReader<RecvStream>,
    send: SendStream,
) {
    let permits = Arc::new(Semaphore::new(READS_IN_FLIGHT_MAX));
    let (answers, answers_out) = mpsc::channel(READS_IN_FLIGHT_MAX);
    let ending = &session.link.ending;
    let read = async {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let skipped = reader.skipped();
            let frame = match reader.next_reading().await {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return ending.frame_error(&error),
            };
            session.link.stats.frames_received.add(1);
            session.link.stats.frames_skipped.add(reader.skipped() - skipped);
            session.link.stats.bytes_received.add(reader.last_frame_bytes() as u64);
            match frame {
                Frame::Get(get) => submit(&session, get, permit, answers.clone()),
                other => {
                    let message = format!("a {} does not belong on a stream of readings", other.kind_name());
                    return ending.refuse(SessionRefusal::new(RefusalCode::BadFrame, message));
                }
            }
        }
        // The gateway finished the stream; what is under way is still answered.
        drop(answers);
    };
    let both = async { tokio::join!(read, write_answers(send, answers_out, ending, &session.link.stats)) };
    tokio::select! {
        biased;
        () = ending.over() => {}
        _ = both => {}
    }
}

/// **Invariant:** a gateway reads twins of its own site only; of others it does not learn whether they exist.
fn submit<B: Backend>(session: &Session<B>, get: Get, permit: OwnedSemaphorePermit, answers: mpsc::Sender<Answered>) {
    let audience = Audience::Site(session.gateway.site.clone());
    let results = vec![None; get.twins.len()];
    let collector = Collector::new(ViewGather {
        request: get.request,
        open: Mutex::new(Some(Open { results, bytes: 0, permit })),
        answers,
        waiting: session.views_waiting.clone(),
    });
    let submissions = get.twins.into_iter().enumerate().map(|(index, twin)| Submission {
        twin,
        command: Command::View { audience: audience.clone() },
        bytes: weight::command_bytes(),
        reply: collector.reply(index),
    });
    session.backend.submit_all(submissions.collect());
    collector.seal();
}

type Viewed = Result<Bytes, Refusal>;

/// A request that is answered, on its way to the stream.
struct Answered {
    request: u64,
    results: Vec<Viewed>,
    _waiting: Waiting,
    _permit: OwnedSemaphorePermit,
}

struct Open {
    /// In the order of the request.
    results: Vec<Option<Viewed>>,
    /// Of views so far.
    bytes: usize,
    permit: OwnedSemaphorePermit,
}

struct ViewGather {
    request: u64,
    open: Mutex<Option<Open>>,
    answers: mpsc::Sender<Answered>,
    waiting: Arc<ViewsWaiting>,
}

fn busy() -> Refusal {
    Refusal::Busy { what: "the memory for readings".into(), retry_after_ms: READ_AGAIN_AFTER_MS }
}

impl Gather for ViewGather {
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        let mut open = self.open.lock();
        let Some(open) = open.as_mut() else { return };
        let result = match result {
            // One always fits, so that whoever asks again gets on.
            Ok(Answer::View { view, .. }) if open.bytes == 0 || open.bytes + view.packed().len() <= READ_BYTES_MAX => {
                open.bytes += view.packed().len();
                Ok(view.packed().clone())
            }
            Ok(Answer::View { .. }) => Err(busy()),
            Ok(other) => Err(Refusal::Invalid { message: format!("unexpected answer to a reading: {other:?}") }),
            Err(refusal) => Err(clipped(refusal)),
        };
        if let Some(slot) = open.results.get_mut(index) {
            *slot = Some(result);
        }
    }

    fn finish(&self) {
        let Some(Open { results, bytes, permit }) = self.open.lock().take() else { return };
        let waiting = ViewsWaiting::take(&self.waiting, bytes);
        let settle = |result: Option<Viewed>| match (result, &waiting) {
            (Some(Ok(_)), None) => Err(busy()),
            (Some(result), _) => result,
            (None, _) => Err(Refusal::Invalid { message: "the reading was not carried out".into() }),
        };
        let results = results.into_iter().map(settle).collect();
        let waiting = waiting.unwrap_or_default();
        // Never full: there is a place per permit. Closed: the session is over and the gateway will ask again.
        let answered = Answered { request: self.request, results, _waiting: waiting, _permit: permit };
        let _over = self.answers.try_send(answered);
    }
}

/// Bytes of all views of a node that wait to be written.
#[derive(Debug, Default)]
pub(super) struct ViewsWaiting(AtomicUsize);

/// So many of them; given back when dropped.
#[derive(Debug, Default)]
struct Waiting(Option<(Arc<ViewsWaiting>, usize)>);

impl ViewsWaiting {
    /// `None`: there is no room for so many more.
    fn take(all: &Arc<Self>, bytes: usize) -> Option<Waiting> {
        let before = all.0.fetch_add(bytes, Ordering::Relaxed);
        let waiting = Waiting(Some((all.clone(), bytes)));
        (before.saturating_add(bytes) <= VIEWS_WAITING_BYTES_MAX).then_some(waiting)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some((all, bytes)) = &self.0 {
            all.0.fetch_sub(*bytes, Ordering::Relaxed);
        }
    }
}

async fn write_answers(
    send: SendStream,
    mut answers: mpsc::Receiver<Answered>,
    ending: &Ending,
    stats: &TransportStats,
) {
    let mut writer = FrameWriter::new(send, FRAME_BYTES_MAX);
    while let Some(answered) = answers.recv().await {
        let mut rest = &answered.results[..];
        let mut first = 0;
        // Also for a request of nothing: it is answered.
        loop {
            let (frame, later) = rest.split_at(fitting(rest));
            if let Err(error) = writer.put_encoded(|out| write_views(out, answered.request, first, frame)) {
                // Views and refusals are bounded so that this cannot be.
                tracing::error!(%error, "views cannot be sent");
                return ending.refuse(SessionRefusal::new(RefusalCode::Internal, error.to_string()));
            }
            stats.frames_sent.add(1);
            if let Err(error) = writer.flush().await {
                return ending.frame_error(&error);
            }
            if later.is_empty() {
                break;
            }
            first += frame.len() as u32;
            rest = later;
        }
    }
    // Nothing left to answer: the gateway finished its side, we finish ours.
    let _already_gone = writer.into_inner().finish();
}

/// How many of them go into one frame.
fn fitting(results: &[Viewed]) -> usize {
    let mut bytes = 0;
    results
        .iter()
        .take_while(|result| {
            let fits = bytes < VIEWS_FRAME_BYTES;
            bytes += result_bytes(result);
            fits
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_views_is_closed_when_it_has_enough() {
        let view = |length| Ok(Bytes::from(vec![0; length]));
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&[view(200_000), view(1)]), 1);
        assert_eq!(fitting(&vec![view(400); 256]), VIEWS_FRAME_BYTES.div_ceil(409));
        assert_eq!(fitting(&vec![view(10); 256]), 256);
    }

    #[test]
    fn views_of_all_sessions_that_wait_have_a_bound_and_are_given_back() {
        let all = Arc::<ViewsWaiting>::default();
        let most = ViewsWaiting::take(&all, VIEWS_WAITING_BYTES_MAX - 10).unwrap();
        let rest = ViewsWaiting::take(&all, 10).unwrap();
        assert!(ViewsWaiting::take(&all, 1).is_none());
        drop(rest);
        assert!(ViewsWaiting::take(&all, 10).is_some());
        drop(most);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
