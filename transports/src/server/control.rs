//! Requests on the control stream: attach, detach, received, call results.

use std::sync::Arc;

use parking_lot::Mutex;
use quinn::RecvStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use twin_core::command::{Answer, Command};
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Stay, Version};
use twin_core::refusal::Refusal;

use super::backend::Backend;
use super::clip::clipped;
use super::collector::{Collector, Gather};
use super::downlink::Link;
use super::session::Session;
use super::weight;
use crate::codec::{Frame, FrameReader};
use crate::frames::device::{Attach, AttachResults, Detach, DetachResults};
use crate::limits::{REQUESTS_IN_FLIGHT_MAX, SESSION_TWINS_MAX};
use crate::refuse::{RefusalCode, SessionRefusal};

/// Reads the control stream until it or the session ends. As on the other streams, a frame is read only with a permit in hand.
pub(super) async fn read_control<B: Backend>(session: Arc<Session<B>>, mut reader: FrameReader<RecvStream>) {
    let permits = Arc::new(Semaphore::new(REQUESTS_IN_FLIGHT_MAX));
    let link = &session.link;
    let read = async {
        while let Ok(permit) = permits.clone().acquire_owned().await {
            let frame = match reader.next().await {
                Ok(Some(frame)) => frame,
                // The gateway says goodbye by finishing its control stream.
                Ok(None) => return link.ending.gone(),
                Err(error) => return link.ending.frame_error(&error),
            };
            link.stats.frames_received.add(1);
            link.stats.bytes_received.add(reader.last_frame_bytes() as u64);
            if let Err(refusal) = session.control_frame(frame, permit) {
                return link.ending.refuse(refusal);
            }
        }
    };
    tokio::select! {
        biased;
        () = link.ending.over() => {}
        () = read => {}
    }
    link.stats.frames_skipped.add(reader.skipped());
}

impl<B: Backend> Session<B> {
    fn control_frame(&self, frame: Frame, permit: OwnedSemaphorePermit) -> Result<(), SessionRefusal> {
        match frame {
            Frame::Attach(attach) => self.attach(attach, permit),
            Frame::Detach(detach) => self.detach(detach, permit),
            Frame::DesiredReceived(received) => {
                let twins = self.link.twins.lock();
                self.link.undelivered.note(received.items.into_iter().filter(|(twin, _)| twins.is_attached(twin)));
            }
            Frame::CallResult(result) => self.backend.call_answered(&self.gateway, result),
            other => {
                let message =
                    format!("a {} does not belong on the control stream of an open session", other.kind_name());
                return Err(SessionRefusal::new(RefusalCode::BadFrame, message));
            }
        }
        Ok(())
    }

    fn attach(&self, attach: Attach, permit: OwnedSemaphorePermit) {
        let outcomes = attach.items.iter().map(|item| (item.twin.clone(), item.stay, item.knows, None)).collect();
        let open = Mutex::new((outcomes, Some(permit)));
        let collector = Collector::new(AttachGather { request: attach.request, open, link: self.link.clone() });
        for (index, item) in attach.items.into_iter().enumerate() {
            if self.link.twins.lock().begin_attach(&item.twin).is_err() {
                let what = format!("devices attached through one session (at most {SESSION_TWINS_MAX})");
                collector.settle_now(index, Err(Refusal::Busy { what, retry_after_ms: 60_000 }));
                continue;
            }
            let command = Command::Attach {
                sender: self.sender(item.stay),
                saw: item.saw,
                may_create: self.grant.enrolment_open,
            };
            let (bytes, reply) = (weight::command_bytes(), collector.reply(index));
            if attach.urgent {
                self.backend.submit_urgent(&item.twin, command, bytes, reply);
            } else {
                self.backend.submit(&item.twin, command, bytes, reply);
            }
        }
        collector.seal();
    }

    fn detach(&self, detach: Detach, permit: OwnedSemaphorePermit) {
        let results = vec![None; detach.items.len()];
        let open = Mutex::new((results, Some(permit)));
        let gather = DetachGather { request: detach.request, items: detach.items, open, link: self.link.clone() };
        let items = gather.items.clone();
        let collector = Collector::new(gather);
        for (index, (twin, stay)) in items.into_iter().enumerate() {
            let command = Command::Detach { sender: self.sender(stay) };
            self.backend.submit(&twin, command, weight::command_bytes(), collector.reply(index));
        }
        collector.seal();
    }
}

fn unexpected(answer: &Answer) -> Refusal {
    Refusal::Invalid { message: format!("unexpected answer: {answer:?}") }
}

/// Outcomes in the order of the items, and the request's permit, until the last outcome is in.
type Open<T> = Mutex<(Vec<T>, Option<OwnedSemaphorePermit>)>;

type Attached = Result<(AttachmentNo, Version), Refusal>;

struct AttachGather {
    request: u64,
    /// Twin, stay, the version that the gateway knows, and what came of it.
    open: Open<(TwinId, Stay, Version, Option<Attached>)>,
    link: Arc<Link>,
}

impl Gather for AttachGather {
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        let outcome = match result {
            Ok(Answer::Attached { attachment, desired_version }) => Ok((attachment, desired_version)),
            Ok(other) => Err(unexpected(&other)),
            Err(refusal) => Err(clipped(refusal)),
        };
        if let Some(item) = self.open.lock().0.get_mut(index) {
            item.3 = Some(outcome);
        }
    }

    fn finish(&self) {
        let (items, permit) = std::mem::take(&mut *self.open.lock());
        let Some(permit) = permit else { return };
        let settled: Vec<(TwinId, Stay, Version, Attached)> = items
            .into_iter()
            .map(|(twin, stay, knows, outcome)| {
                let never = || Err(Refusal::Invalid { message: "the attach was not carried out".into() });
                (twin, stay, knows, outcome.unwrap_or_else(never))
            })
            .collect();
        let results = settled.iter().map(|item| item.3.as_ref().map(|ok| ok.0).map_err(Clone::clone)).collect();
        // Before the deltas: a gateway hears that a device is attached before it hears what the device should be like.
        self.link.out.send(AttachResults { request: self.request, results }, permit);
        let mut twins = self.link.twins.lock();
        let mut due = false;
        for (twin, stay, knows, outcome) in &settled {
            due |= match outcome {
                Ok((_, current)) => twins.attached(twin, *stay, *knows, *current),
                Err(_) => twins.attach_refused(twin),
            };
        }
        drop(twins);
        if due {
            self.link.wake();
        }
    }
}

struct DetachGather {
    request: u64,
    items: Vec<(TwinId, Stay)>,
    open: Open<Option<Result<(), Refusal>>>,
    link: Arc<Link>,
}

impl Gather for DetachGather {
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        let outcome = match result {
            Ok(Answer::Done | Answer::Duplicate) => Ok(()),
            Ok(other) => Err(unexpected(&other)),
            Err(refusal) => Err(clipped(refusal)),
        };
        if let (Ok(()), Some((twin, stay))) = (&outcome, self.items.get(index)) {
            self.link.twins.lock().detach(twin, *stay);
        }
        if let Some(item) = self.open.lock().0.get_mut(index) {
            *item = Some(outcome);
        }
    }

    fn finish(&self) {
        let (results, permit) = std::mem::take(&mut *self.open.lock());
        let Some(permit) = permit else { return };
        let never = || Err(Refusal::Invalid { message: "the detach was not carried out".into() });
        let results = results.into_iter().map(|result| result.unwrap_or_else(never)).collect();
        self.link.out.send(DetachResults { request: self.request, results }, permit);
    }
}
