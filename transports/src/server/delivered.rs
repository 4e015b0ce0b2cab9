//! "Delivered": telling a twin what its gateway has received.
//!
//! Not at once: a device that follows says so within moments, and what it applied was delivered. So a note waits for one to two
//! [`DELIVERED_INTERVAL`](crate::limits::DELIVERED_INTERVAL)s, and is dropped as soon as the twin took an `applied` that says more.
//! What is left is told many at a time. A note that is lost with its session is said again by the gateway after its next attach.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use twin_core::command::{Answer, Command};
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::refusal::Refusal;

use super::backend::{Backend, Submission};
use super::collector::{Collector, Gather};
use super::downlink::Link;
use super::session::Session;
use super::weight;
use crate::limits::{ATTACH_ITEMS_MAX, SESSION_TWINS_MAX};

type Notes = HashMap<TwinId, Version>;

/// All that a session may serve, in both generations. Only a gateway that attaches and detaches faster than twins are told gets here;
/// what is left out it says again after the next attach.
const NOTES_MAX: usize = 2 * SESSION_TWINS_MAX;

/// What twins have not been told: of at most [`NOTES_MAX`] twins.
#[derive(Default)]
pub(super) struct Undelivered(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    /// Noted since the last tick that had nothing else to tell.
    fresh: Notes,
    /// Noted before.
    due: Notes,
}

impl Undelivered {
    /// The gateway has these. The twins are attached.
    pub(super) fn note(&self, items: impl IntoIterator<Item = (TwinId, Version)>) {
        let mut notes = self.0.lock();
        for (twin, version) in items {
            if notes.fresh.len() + notes.due.len() >= NOTES_MAX && !notes.fresh.contains_key(&twin) {
                continue;
            }
            let known = notes.fresh.entry(twin).or_default();
            *known = version.max(*known);
        }
    }

    /// The twin knows, as it took an `applied` of this version.
    pub(super) fn forget(&self, items: impl IntoIterator<Item = (TwinId, Version)>) {
        let mut notes = self.0.lock();
        let Generations { fresh, due } = &mut *notes;
        for (twin, version) in items {
            for notes in [&mut *fresh, &mut *due] {
                if notes.get(&twin).is_some_and(|noted| *noted <= version) {
                    notes.remove(&twin);
                }
            }
        }
    }

    /// What is to be told now: a part of it, not more at a time than a gateway may say in one frame.
    pub(super) fn take(&self) -> Vec<(TwinId, Version)> {
        let mut notes = self.0.lock();
        if notes.due.is_empty() {
            notes.due = std::mem::take(&mut notes.fresh);
            return Vec::new();
        }
        if notes.due.len() <= ATTACH_ITEMS_MAX {
            let due = std::mem::take(&mut notes.fresh);
            return std::mem::replace(&mut notes.due, due).into_iter().collect();
        }
        let some: Vec<TwinId> = notes.due.keys().take(ATTACH_ITEMS_MAX).cloned().collect();
        some.into_iter().filter_map(|twin| notes.due.remove_entry(&twin)).collect()
    }
}

/// Tells the twins.
pub(super) fn deliver<B: Backend>(session: &Session<B>, items: Vec<(TwinId, Version)>) {
    if items.is_empty() {
        return;
    }
    let commands: Vec<(TwinId, Command)> = items
        .iter()
        .map(|(twin, version)| {
            (twin.clone(), Command::DesiredDelivered { gateway: session.gateway.clone(), version: *version })
        })
        .collect();
    let collector = Collector::new(DeliveryGather { link: session.link.clone(), items });
    let submission = |(index, (twin, command))| {
        let reply = collector.reply(index);
        Submission { twin, command, bytes: weight::command_bytes(), reply }
    };
    session.backend.submit_all(commands.into_iter().enumerate().map(submission).collect());
    collector.seal();
}

struct DeliveryGather {
    link: Arc<Link>,
    items: Vec<(TwinId, Version)>,
}

impl Gather for DeliveryGather {
    /// What a busy twin could not take is noted again.
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        let (Err(refusal), Some((twin, version))) = (result, self.items.get(index)) else { return };
        if refusal.retry_after().is_none() {
            tracing::debug!(%refusal, "delivered was not taken");
        } else if self.link.twins.lock().is_attached(twin) {
            self.link.undelivered.note([(twin.clone(), *version)]);
        }
    }

    fn finish(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(number: usize) -> TwinId {
        TwinId::new(&format!("t-{number}")).unwrap()
    }

    fn v(version: u64) -> Version {
        Version::new(version)
    }

    #[test]
    fn a_note_waits_for_one_tick_and_the_highest_counts() {
        let notes = Undelivered::default();
        notes.note([(twin(1), v(3)), (twin(1), v(2))]);
        assert_eq!(notes.take(), []);
        assert_eq!(notes.take(), [(twin(1), v(3))]);
        assert_eq!(notes.take(), []);
    }

    #[test]
    fn what_is_applied_meanwhile_is_not_told() {
        let notes = Undelivered::default();
        notes.note([(twin(1), v(3)), (twin(2), v(3))]);
        notes.take();
        notes.note([(twin(2), v(4))]);
        notes.forget([(twin(1), v(3)), (twin(2), v(3))]);
        assert_eq!(notes.take(), []);
        assert_eq!(notes.take(), [(twin(2), v(4))], "the device followed to 3, not to 4");
    }

    #[test]
    fn notes_have_a_bound_and_known_twins_go_on() {
        let notes = Undelivered::default();
        notes.note((0..NOTES_MAX + 100).map(|number| (twin(number), v(1))));
        notes.note([(twin(0), v(2)), (twin(NOTES_MAX + 200), v(2))]);
        let notes = notes.0.lock();
        assert_eq!((notes.fresh.len(), notes.fresh.get(&twin(0))), (NOTES_MAX, Some(&v(2))));
    }

    #[test]
    fn many_are_told_in_parts_and_none_is_left() {
        let notes = Undelivered::default();
        notes.note((0..1000).map(|number| (twin(number), v(1))));
        assert_eq!(notes.take(), []);
        let mut told = std::collections::HashSet::new();
        for _ in 0..4 {
            let part = notes.take();
            assert!(!part.is_empty() && part.len() <= ATTACH_ITEMS_MAX);
            told.extend(part.into_iter().map(|(twin, _)| twin));
        }
        assert_eq!(told.len(), 1000);
        assert_eq!(notes.take(), []);
    }
}
