//! Bringing stays to the node: attach and detach, in batches.

use std::time::Duration;

use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Stay};
use twin_core::refusal::Refusal;
use twin_transports::frames::device::{Attach, AttachItem, Detach};
use twin_transports::limits::ATTACH_ITEMS_MAX;

use crate::core::admission::AppendError;
use crate::core::{Core, TwinIndex};
use crate::limits::ATTACHES_IN_FLIGHT_MAX;
use crate::outbox::format::encode_record;
use crate::outbox::queue::Write;
use crate::stay::Link;

/// How a device stands with the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TwinLink {
    /// The gateway does not serve it.
    NotServed,
    /// It will be attached once there is a session, and content of older stays went.
    Pending,
    /// Attached in this session, under this number.
    Attached(AttachmentNo),
    /// Another gateway's attachment is newer. It is claimed when the device is heard again: with the next report or `attach`.
    Conflict {
        /// The newer attachment.
        last: AttachmentNo,
    },
    /// The node knows no such twin (and its site's enrolment is not open). Asked again every few seconds; messages wait.
    NotRegistered,
}

impl Core {
    /// The application serves the device: it was heard.
    pub(crate) fn attach(&mut self, id: &TwinId, now: Duration) -> Result<(), AppendError> {
        if self.closing {
            return Err(AppendError::ShutDown);
        }
        let index = self.known(id)?;
        let boot = self.boot;
        let twin = self.twin_mut(index);
        twin.serving = true;
        twin.detaching = None;
        twin.stays.heard();
        twin.stays.open(boot);
        self.refresh(index, now);
        Ok(())
    }

    /// The application serves the device no more. What is in the outbox still goes; then the node is told.
    pub(crate) fn detach(&mut self, id: &TwinId, now: Duration) {
        let Some(index) = self.by_id.get(id).copied() else { return };
        let twin = self.twin_mut(index);
        twin.serving = false;
        twin.detaching = twin.stays.retire().or(twin.detaching);
        self.refresh(index, now);
    }

    /// How a device stands.
    pub(crate) fn link(&self, id: &TwinId) -> TwinLink {
        let Some(twin) = self.twin(id) else { return TwinLink::NotServed };
        match twin.stays.link() {
            _ if twin.wanted_stay().is_none() => TwinLink::NotServed,
            Link::Attached(stay) if twin.wanted_stay() == Some(stay) => TwinLink::Attached(twin.stays.saw()),
            Link::Conflict => TwinLink::Conflict { last: twin.stays.saw() },
            Link::Waiting { unregistered: true, .. } => TwinLink::NotRegistered,
            _ => TwinLink::Pending,
        }
    }

    /// The next attach frame.
    pub(crate) fn take_attach(&mut self, now: Duration) -> Option<Attach> {
        self.session?;
        if self.attaches.len() >= ATTACHES_IN_FLIGHT_MAX {
            return None;
        }
        let mut items = Vec::new();
        let mut asked = Vec::new();
        let mut urgent = false;
        while items.len() < ATTACH_ITEMS_MAX
            && let Some(index) = self.attach_queue.front().copied()
        {
            let twin = &self.twins[index as usize];
            let is_urgent = twin.is_urgent();
            let wanted = twin.wanted_stay().filter(|stay| twin.stays.wants_attach(*stay, now));
            // Those that alarms wait for stand at the front, and have a frame of their own.
            if wanted.is_some() && !items.is_empty() && is_urgent != urgent {
                break;
            }
            self.attach_queue.pop_front();
            let twin = self.twin_mut(index);
            twin.attach_queued = false;
            let Some(stay) = wanted else { continue };
            urgent = is_urgent;
            twin.stays.attaching(stay);
            items.push(AttachItem {
                twin: twin.id.clone(),
                stay,
                saw: twin.stays.saw(),
                knows: twin.desired.version(),
            });
            asked.push((index, stay));
        }
        if items.is_empty() {
            return None;
        }
        let request = self.next_request();
        self.attaches.insert(request, asked);
        Some(Attach { request, items, urgent })
    }

    pub(crate) fn next_request(&mut self) -> u64 {
        self.next_request += 1;
        self.next_request
    }

    /// The answer.
    pub(crate) fn attach_results(&mut self, request: u64, results: Vec<Result<AttachmentNo, Refusal>>, now: Duration) {
        let Some(asked) = self.attaches.remove(&request) else { return };
        let mut results = results.into_iter();
        for (index, stay) in asked {
            let twin = self.twin_mut(index);
            // An answer that is too short is as good as one that says: not now.
            let result = results.next().unwrap_or_else(|| {
                Err(Refusal::Unavailable { message: "the attach was not answered".into(), retry_after_ms: 1000 })
            });
            let before = twin.row();
            match result {
                Ok(number) => {
                    twin.stays.attach_accepted(stay, number);
                    self.confirm_received(index);
                }
                Err(refusal) => {
                    let outcome = twin.stays.attach_refused(stay, &refusal, now);
                    self.settle_stay(index, outcome);
                }
            }
            self.remember(index, &before);
            self.refresh(index, now);
        }
        self.wakes.control = true;
    }

    /// The device's row goes with the next commit, before the removals of what is acked under this attachment: so after a crash
    /// either a message of the attached stay or its number is still known. That is why nothing of the device is spared its own
    /// commit before this one is durable.
    fn remember(&mut self, index: TwinIndex, before: &crate::outbox::format::TwinRow) {
        let twin = &mut self.twins[index as usize];
        let row = twin.row();
        if row != *before {
            twin.remembered = self.writes.push(Write::Twin { id: twin.id.clone(), row: encode_record(&row) });
            self.wakes.writer = true;
        }
    }

    /// The next detach frame. Its answer needs no handling: a stay that is over is over.
    pub(crate) fn take_detach(&mut self) -> Option<Detach> {
        self.session?;
        if self.detach_queue.is_empty() {
            return None;
        }
        let upto = self.detach_queue.len().min(ATTACH_ITEMS_MAX);
        let items: Vec<(TwinId, Stay)> = self.detach_queue.drain(..upto).collect();
        Some(Detach { request: self.next_request(), items })
    }

    /// Devices attached, in conflict, not registered.
    pub(crate) fn count_attached(&self) -> (u64, u64, u64) {
        let (mut attached, mut conflicts, mut unregistered) = (0, 0, 0);
        for twin in &self.twins {
            match twin.stays.link() {
                Link::Attached(_) => attached += 1,
                Link::Conflict => conflicts += 1,
                Link::Waiting { unregistered: true, .. } => unregistered += 1,
                _ => {}
            }
        }
        (attached, conflicts, unregistered)
    }
}
