//! The way down: the gateway's copy of `desired`, and what of it the application has yet to hear.

use std::time::Duration;

use twin_core::ids::TwinId;
use twin_core::merge::apply_ops;
use twin_core::numbers::Version;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::frames::device::{Desired, DesiredReceived};
use twin_transports::limits::ATTACH_ITEMS_MAX;

use crate::core::{Core, TwinIndex};
use crate::limits::DESIRED_OPS_MAX;

/// A change of `desired`, for the application. Changes that came faster than they were taken are one.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredChange {
    /// The device.
    pub twin: TwinId,
    /// `desired.$version` that the device is at once it took this over.
    pub version: Version,
    /// `ops` replace everything: what was known before is of no use.
    pub snapshot: bool,
    /// What changed since the last change handed over.
    pub ops: Vec<Op>,
    /// The full desired value.
    pub desired: Value,
}

/// The gateway's copy, in this run. It begins with nothing, so the node sends a snapshot first.
#[derive(Debug, Default)]
pub(crate) struct DesiredCopy {
    version: Version,
    document: Value,
    /// What the application was handed.
    handed: Version,
    snapshot: bool,
    ops: Vec<Op>,
    queued: bool,
    pub(crate) confirming: bool,
}

/// What became of a delta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The copy is at its version now.
    Applied,
    /// Known already.
    Stale,
    /// It begins at a version that is not the copy's: ask again.
    Mismatch,
}

impl DesiredCopy {
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Applies a delta, or a snapshot.
    pub(crate) fn take(&mut self, from: Version, to: Version, snapshot: bool, ops: Vec<Op>) -> Taken {
        if to <= self.version {
            return Taken::Stale;
        }
        if snapshot {
            self.document = Value::empty_object();
            apply_ops(&mut self.document, ops);
            self.snapshot = true;
        } else if from == self.version {
            apply_ops(&mut self.document, ops.iter().cloned());
            self.ops.extend(ops);
            // A snapshot says it all, and in bounded room.
            self.snapshot |= self.ops.len() > DESIRED_OPS_MAX;
        } else {
            return Taken::Mismatch;
        }
        if self.snapshot {
            self.ops.clear();
        }
        self.version = to;
        Taken::Applied
    }

    fn hand_over(&mut self, twin: TwinId) -> DesiredChange {
        self.queued = false;
        self.handed = self.version;
        let snapshot = std::mem::take(&mut self.snapshot);
        let mut ops = std::mem::take(&mut self.ops);
        if snapshot {
            ops = vec![Op::Replace { path: Path::root(), value: self.document.clone() }];
        }
        DesiredChange { twin, version: self.version, snapshot, ops, desired: self.document.clone() }
    }
}

impl Core {
    /// A desired frame. An owner lower than one seen before can say nothing that counts.
    pub(crate) fn desired(&mut self, frame: Desired, now: Duration) {
        if frame.owner < self.owner {
            self.counters.stale_owner_frames += 1;
            return;
        }
        self.owner = frame.owner;
        let Some(index) = self.by_id.get(&frame.twin).copied() else { return };
        let twin = self.twin_mut(index);
        match twin.desired.take(frame.from, frame.to, frame.snapshot, frame.ops) {
            Taken::Applied => {
                if !std::mem::replace(&mut twin.desired.queued, true) {
                    self.changed.push_back(index);
                }
                self.wakes.desired = true;
            }
            Taken::Stale => {}
            Taken::Mismatch => {
                // Attaching a known stay again changes nothing and says what we know: the answer is what we lack.
                twin.stays.renew();
                self.refresh(index, now);
            }
        }
    }

    /// The next change for the application. Handing it over is what counts as delivered.
    pub(crate) fn next_change(&mut self) -> Option<DesiredChange> {
        let index = self.changed.pop_front()?;
        let twin = self.twin_mut(index);
        let id = twin.id.clone();
        let change = twin.desired.hand_over(id);
        self.confirm_received(index);
        // Another taker may wait for the rest.
        self.wakes.desired = !self.changed.is_empty();
        Some(change)
    }

    /// The next changes, up to `max`.
    pub(crate) fn next_changes(&mut self, max: usize) -> Vec<DesiredChange> {
        let many = self.changed.len().min(max);
        std::iter::from_fn(|| self.next_change()).take(many).collect()
    }

    /// Tells the node what the application has; again after each attach, for nobody acks it.
    pub(crate) fn confirm_received(&mut self, index: TwinIndex) {
        let twin = &self.twins[index as usize];
        if twin.desired.handed.get() > 0 && !twin.desired.confirming && self.session.is_some() {
            self.twin_mut(index).desired.confirming = true;
            self.received.push_back(index);
            self.wakes.control = true;
        }
    }

    /// The next frame that says so.
    pub(crate) fn take_received(&mut self) -> Option<DesiredReceived> {
        self.session?;
        if self.received.is_empty() {
            return None;
        }
        let upto = self.received.len().min(ATTACH_ITEMS_MAX);
        let mut items = Vec::with_capacity(upto);
        for index in self.received.drain(..upto) {
            let twin = &mut self.twins[index as usize];
            twin.desired.confirming = false;
            items.push((twin.id.clone(), twin.desired.handed));
        }
        Some(DesiredReceived { items })
    }
}
