//! Which twins a session serves, and what of `desired` is still to be fetched for them. Plain data: no task, no clock.
//!
//! **No lost wake-up.** A change sets `dirty`; a fetch takes `dirty` away *before* it begins. So a change that happens while
//! the fetch is under way leaves `dirty` set, and when the fetch ends the twin is queued again.
//!
//! **Bounds.** Everything is per attached twin, of which there are at most `max`; a change of any other twin is ignored.

use std::collections::{HashMap, VecDeque};

use twin_core::ids::TwinId;
use twin_core::numbers::{Stay, Version};

/// A fetch to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetch {
    pub(super) twin: TwinId,
    /// What the gateway knows, or will know once everything sent has arrived.
    pub(super) since: Version,
    ticket: u64,
}

/// What a change means to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// It does not serve the twin.
    Nothing,
    /// What was sent ends right before it.
    Follows {
        /// Where that is.
        from: Version,
    },
    /// It does not, or something is under way: what is lacking must be fetched.
    Fetch,
}

#[derive(Debug, Default)]
struct Entry {
    /// The stay that is attached; `None` while the first attach is under way.
    stay: Option<Stay>,
    /// Attaches under way.
    attaching: u32,
    sent: Version,
    dirty: bool,
    /// Ticket of its place in the queue.
    queued: Option<u64>,
    /// Ticket of the fetch under way; a reply with another ticket is stale.
    fetching: Option<u64>,
    /// Waits for the next tick after a failure.
    waiting: bool,
}

#[derive(Debug)]
pub(super) struct AttachedTwins {
    entries: HashMap<TwinId, Entry>,
    queue: VecDeque<(TwinId, u64)>,
    tickets: u64,
    max: usize,
}

/// The session serves as many twins as it may.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl AttachedTwins {
    pub(super) fn new(max: usize) -> Self {
        Self { entries: HashMap::new(), queue: VecDeque::new(), tickets: 0, max }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_attached(&self, twin: &TwinId) -> bool {
        self.entries.get(twin).is_some_and(|entry| entry.stay.is_some())
    }

    /// Before the attach is submitted, so that a change right after its commit is not missed.
    pub(super) fn begin_attach(&mut self, twin: &TwinId) -> Result<(), TooMany> {
        if self.entries.len() >= self.max && !self.entries.contains_key(twin) {
            return Err(TooMany);
        }
        self.entries.entry(twin.clone()).or_default().attaching += 1;
        Ok(())
    }

    /// The attach was answered: `knows` is what the gateway said it knows, `current` what the twin is at. True: work to do.
    pub(super) fn attached(&mut self, twin: &TwinId, stay: Stay, knows: Version, current: Version) -> bool {
        let Some(entry) = self.entries.get_mut(twin) else { return false };
        entry.attaching = entry.attaching.saturating_sub(1);
        entry.stay = Some(stay);
        entry.sent = knows;
        // A fetch under way was for what the gateway knew before; its reply is stale now.
        entry.dirty |= entry.fetching.take().is_some() || current != knows;
        self.queue_if_due(twin)
    }

    /// The attach was refused. True: work to do.
    pub(super) fn attach_refused(&mut self, twin: &TwinId) -> bool {
        let Some(entry) = self.entries.get_mut(twin) else { return false };
        entry.attaching = entry.attaching.saturating_sub(1);
        if entry.stay.is_none() {
            self.remove_if_idle(twin);
            return false;
        }
        self.queue_if_due(twin)
    }

    /// The gateway no longer serves it. Another stay than the attached one changes nothing.
    pub(super) fn detach(&mut self, twin: &TwinId, stay: Stay) {
        if self.entries.get(twin).is_some_and(|entry| entry.stay == Some(stay)) {
            self.lost(twin);
        }
    }

    /// The attachment went to another session.
    pub(super) fn lost(&mut self, twin: &TwinId) {
        if let Some(entry) = self.entries.get_mut(twin) {
            entry.stay = None;
            entry.fetching = None;
            self.remove_if_idle(twin);
        }
    }

    /// `desired` is newer than before. True: work to do.
    pub(super) fn changed(&mut self, twin: &TwinId) -> bool {
        let Some(entry) = self.entries.get_mut(twin) else { return false };
        entry.dirty = true;
        self.queue_if_due(twin)
    }

    /// `desired` became this version, one above what it was: what that means here. Nothing is changed yet; the caller says
    /// [`AttachedTwins::sent`] or [`AttachedTwins::changed`].
    pub(super) fn became(&self, twin: &TwinId, version: Version) -> News {
        let Some(entry) = self.entries.get(twin) else { return News::Nothing };
        let is_quiet = entry.stay.is_some()
            && entry.attaching == 0
            && entry.queued.is_none()
            && entry.fetching.is_none()
            && !entry.dirty
            && !entry.waiting;
        // A version that no change led to (0, or one that the gateway made up) is followed by none.
        if is_quiet && entry.sent.get() > 0 && entry.sent.next() == version {
            News::Follows { from: entry.sent }
        } else {
            News::Fetch
        }
    }

    /// The delta up to this version was put behind those that wait.
    pub(super) fn sent(&mut self, twin: &TwinId, version: Version) {
        if let Some(entry) = self.entries.get_mut(twin) {
            entry.sent = version;
        }
    }

    /// The next fetch to make.
    pub(super) fn next_fetch(&mut self) -> Option<Fetch> {
        while let Some((twin, ticket)) = self.queue.pop_front() {
            let Some(entry) = self.entries.get_mut(&twin).filter(|entry| entry.queued == Some(ticket)) else {
                continue;
            };
            entry.queued = None;
            if entry.stay.is_none() {
                continue;
            }
            entry.dirty = false;
            entry.fetching = Some(ticket);
            return Some(Fetch { since: entry.sent, ticket, twin });
        }
        None
    }

    /// Is the fetch's delta still wanted?
    pub(super) fn wants(&self, fetch: &Fetch) -> bool {
        self.entries.get(&fetch.twin).is_some_and(|entry| entry.fetching == Some(fetch.ticket))
    }

    /// The delta is too large to be sent: another fetch brings a snapshot, unless this was one.
    pub(super) fn unsendable(&mut self, fetch: &Fetch, is_snapshot: bool) {
        let Some(entry) = self.entries.get_mut(&fetch.twin).filter(|entry| entry.fetching == Some(fetch.ticket)) else {
            return;
        };
        entry.fetching = None;
        if !is_snapshot {
            entry.sent = Version::default();
            entry.dirty = true;
        }
        self.queue_if_due(&fetch.twin);
    }

    /// The fetch brought the twin to `to`. True: the delta was still wanted, and is sent now, before the next one.
    pub(super) fn fetched(&mut self, fetch: &Fetch, to: Version) -> bool {
        let Some(entry) = self.entries.get_mut(&fetch.twin).filter(|entry| entry.fetching == Some(fetch.ticket)) else {
            return false;
        };
        entry.fetching = None;
        entry.sent = to;
        self.queue_if_due(&fetch.twin);
        true
    }

    /// The fetch failed; with `again` it is tried after the next tick.
    pub(super) fn failed(&mut self, fetch: &Fetch, again: bool) {
        let Some(entry) = self.entries.get_mut(&fetch.twin).filter(|entry| entry.fetching == Some(fetch.ticket)) else {
            return;
        };
        entry.fetching = None;
        if again {
            entry.dirty = true;
            entry.waiting = true;
        } else {
            self.queue_if_due(&fetch.twin);
        }
    }

    /// Time has passed: what failed is tried again. True: work to do.
    pub(super) fn tick(&mut self) -> bool {
        let waiting: Vec<TwinId> =
            self.entries.iter().filter(|(_, entry)| entry.waiting).map(|(twin, _)| twin.clone()).collect();
        let mut due = false;
        for twin in waiting {
            if let Some(entry) = self.entries.get_mut(&twin) {
                entry.waiting = false;
            }
            due |= self.queue_if_due(&twin);
        }
        due
    }

    fn queue_if_due(&mut self, twin: &TwinId) -> bool {
        let Some(entry) = self.entries.get_mut(twin) else { return false };
        let due = entry.dirty
            && entry.stay.is_some()
            && entry.attaching == 0
            && entry.queued.is_none()
            && entry.fetching.is_none()
            && !entry.waiting;
        if due {
            self.tickets += 1;
            entry.queued = Some(self.tickets);
            self.queue.push_back((twin.clone(), self.tickets));
            // Twins that were detached while queued leave stale places behind; they may not pile up.
            if self.queue.len() > 2 * self.entries.len() + 64 {
                let entries = &self.entries;
                self.queue.retain(|(twin, ticket)| entries.get(twin).is_some_and(|e| e.queued == Some(*ticket)));
            }
        }
        due
    }

    fn remove_if_idle(&mut self, twin: &TwinId) {
        if self.entries.get(twin).is_some_and(|entry| entry.attaching == 0 && entry.stay.is_none()) {
            self.entries.remove(twin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin(name: &str) -> TwinId {
        TwinId::new(name).unwrap()
    }

    fn v(version: u64) -> Version {
        Version::new(version)
    }

    fn attached(twins: &mut AttachedTwins, name: &str, knows: u64, current: u64) {
        twins.begin_attach(&twin(name)).unwrap();
        twins.attached(&twin(name), Stay::default(), v(knows), v(current));
    }

    #[test]
    fn a_change_during_a_fetch_leads_to_another_fetch() {
        let mut twins = AttachedTwins::new(4);
        attached(&mut twins, "a", 1, 2);
        let first = twins.next_fetch().unwrap();
        assert_eq!(first.since, v(1));
        assert!(!twins.changed(&twin("a")), "one fetch at a time");
        assert_eq!(twins.next_fetch(), None);
        assert!(twins.fetched(&first, v(2)));
        let second = twins.next_fetch().expect("the change must not be lost");
        assert_eq!(second.since, v(2));
        assert!(twins.fetched(&second, v(3)));
        assert_eq!(twins.next_fetch(), None);
    }

    #[test]
    fn a_change_between_the_commit_of_an_attach_and_its_answer_is_not_lost() {
        let mut twins = AttachedTwins::new(4);
        twins.begin_attach(&twin("a")).unwrap();
        assert!(!twins.changed(&twin("a")));
        assert!(twins.attached(&twin("a"), Stay::default(), v(5), v(5)));
        assert_eq!(twins.next_fetch().unwrap().since, v(5));
    }

    #[test]
    fn an_attach_during_a_fetch_makes_its_reply_stale_and_fetches_anew() {
        let mut twins = AttachedTwins::new(4);
        attached(&mut twins, "a", 1, 2);
        let old = twins.next_fetch().unwrap();
        attached(&mut twins, "a", 0, 0);
        assert!(!twins.fetched(&old, v(2)));
        assert_eq!(twins.next_fetch().unwrap().since, v(0));
    }

    #[test]
    fn a_change_follows_only_what_was_sent_last_and_only_while_nothing_is_under_way() {
        let mut twins = AttachedTwins::new(4);
        assert_eq!(twins.became(&twin("a"), v(3)), News::Nothing);
        twins.begin_attach(&twin("a")).unwrap();
        assert_eq!(twins.became(&twin("a"), v(3)), News::Fetch, "not attached yet");
        twins.attached(&twin("a"), Stay::default(), v(2), v(2));
        assert_eq!(twins.became(&twin("a"), v(3)), News::Follows { from: v(2) });
        twins.sent(&twin("a"), v(3));
        assert_eq!(twins.became(&twin("a"), v(3)), News::Fetch);
        assert_eq!(twins.became(&twin("a"), v(5)), News::Fetch, "4 is missing");
        assert!(twins.changed(&twin("a")));
        assert_eq!(twins.became(&twin("a"), v(4)), News::Fetch, "a fetch is to be made");
        let fetch = twins.next_fetch().unwrap();
        assert_eq!((fetch.since, twins.became(&twin("a"), v(4))), (v(3), News::Fetch));
        twins.fetched(&fetch, v(5));
        assert_eq!(twins.became(&twin("a"), v(6)), News::Follows { from: v(5) });
    }

    #[test]
    fn what_cannot_be_sent_is_fetched_as_a_snapshot_once() {
        let mut twins = AttachedTwins::new(4);
        attached(&mut twins, "a", 3, 9);
        let fetch = twins.next_fetch().unwrap();
        twins.unsendable(&fetch, false);
        let again = twins.next_fetch().unwrap();
        assert_eq!(again.since, v(0));
        twins.unsendable(&again, true);
        assert_eq!(twins.next_fetch(), None);
    }

    #[test]
    fn a_detached_twin_is_forgotten_and_a_failed_fetch_waits_for_the_tick() {
        let mut twins = AttachedTwins::new(1);
        attached(&mut twins, "a", 1, 2);
        assert_eq!(twins.begin_attach(&twin("b")), Err(TooMany));
        let fetch = twins.next_fetch().unwrap();
        twins.failed(&fetch, true);
        assert!(!twins.changed(&twin("a")));
        assert_eq!(twins.next_fetch(), None);
        assert!(twins.tick());
        let fetch = twins.next_fetch().unwrap();
        twins.detach(&twin("a"), Stay::default());
        assert_eq!(twins.len(), 0);
        assert!(!twins.fetched(&fetch, v(2)));
        assert!(!twins.changed(&twin("a")));
    }

    #[test]
    fn places_of_detached_twins_do_not_pile_up_in_the_queue() {
        let mut twins = AttachedTwins::new(4);
        for _ in 0..10_000 {
            attached(&mut twins, "a", 1, 2);
            twins.detach(&twin("a"), Stay::default());
        }
        assert!(twins.queue.len() <= 70, "{}", twins.queue.len());
    }
}
