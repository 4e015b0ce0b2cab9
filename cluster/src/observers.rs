//! Those who watch: they hear of every committed event, in the order of the commits of its cell.
//!
//! Nothing of this costs anything while nobody watches: reports then make no events. So events are numbered and kept only
//! from the first observer on, and until [`RESUMABLE_FOR`] after the last one left, in which it may come back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use twin_core::clock::Clock;
use twin_core::event::{Outbound, OutboundKind};
use twin_core::ids::TwinId;

use crate::event_ring::{EventId, EventRing, Observed, Reset};
use crate::followers::Followers;
use crate::limits::{OBSERVER_BACKLOG_MAX, RESUMABLE_FOR};
use crate::sessions::Sessions;

/// Spreads committed events.
pub struct Observers {
    kept: Mutex<Kept>,
    events: broadcast::Sender<Arc<Observed>>,
    followers: Arc<Followers>,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    /// Somebody watches, or did a moment ago. Asked for every report, hence not the channel's own count, which is behind a lock.
    watched: AtomicBool,
}

struct Kept {
    ring: EventRing,
    /// Since when no event found an observer.
    alone_since: Option<Duration>,
}

/// What an observer hears.
#[derive(Debug)]
pub struct Observation {
    /// It must read anew what it follows, for this reason: what it missed is not in `missed`.
    pub reset: Option<Reset>,
    /// The newest event when it began: with `missed` it has everything up to there.
    pub begun_at: EventId,
    /// What it missed, oldest first.
    pub missed: VecDeque<Arc<Observed>>,
    /// Everything from then on. An observer that falls behind by more than the backlog is told how many events it missed.
    pub events: broadcast::Receiver<Arc<Observed>>,
}

impl Observers {
    /// Nobody watches yet. `start` is a random number, other at each start.
    pub fn new(sessions: Arc<Sessions>, clock: Arc<dyn Clock>, start: u64) -> Self {
        Self {
            kept: Mutex::new(Kept { ring: EventRing::new(start), alone_since: None }),
            events: broadcast::Sender::new(OBSERVER_BACKLOG_MAX),
            followers: Arc::default(),
            sessions,
            clock,
            watched: AtomicBool::new(false),
        }
    }

    /// Does anybody hear of what happens to this twin? A report that comes after somebody began to watch and then read the twin is
    /// told: both had the twin's seat after the flag was set.
    pub fn hear_of(&self, twin: &TwinId) -> bool {
        self.watched.load(Ordering::Relaxed) || self.followers.follow_any(twin)
    }

    /// Those who wait for single twins.
    pub fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    /// A new observer, or one that was cut off after the event with this id.
    pub fn observe(&self, after: Option<Result<EventId, Reset>>) -> Observation {
        // Under the lock, so that each event is either missed or heard.
        let mut kept = self.kept.lock();
        let events = self.events.subscribe();
        kept.alone_since = None;
        if !self.watched.load(Ordering::Relaxed) {
            kept.ring.begin();
            self.watched.store(true, Ordering::Relaxed);
        }
        let (missed, reset) = match after.map(|id| kept.ring.after(id?)) {
            None => (VecDeque::new(), None),
            Some(Ok(missed)) => (missed.into(), None),
            Some(Err(reset)) => (VecDeque::new(), Some(reset)),
        };
        Observation { reset, begun_at: kept.ring.newest(), missed, events }
    }

    /// Tells gateways what concerns them, followers that something happened, and observers everything.
    pub fn tell(&self, events: Vec<Outbound>) {
        for event in events {
            match &event.kind {
                OutboundKind::Desired { gateway: Some(gateway), version, ops } => {
                    self.sessions.desired_became(gateway, &event.twin, *version, ops);
                }
                OutboundKind::Attached { gateway, before: Some(before), .. } if before != gateway => {
                    self.sessions.detached(before, &event.twin);
                }
                _ => {}
            }
            self.followers.wake(&event.twin);
            if self.watched.load(Ordering::Relaxed) {
                self.spread(event);
            }
        }
    }

    fn spread(&self, event: Outbound) {
        let mut kept = self.kept.lock();
        let observed = kept.ring.push(event);
        if self.events.send(observed).is_ok() {
            kept.alone_since = None;
            return;
        }
        let now = self.clock.monotonic();
        let since = *kept.alone_since.get_or_insert(now);
        if now.saturating_sub(since) >= RESUMABLE_FOR {
            kept.ring.forget();
            self.watched.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use twin_core::clock::ManualClock;
    use twin_core::ids::SiteId;
    use twin_core::numbers::{Incarnation, WallTime};

    use super::*;

    fn observers() -> (Observers, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(WallTime::new(0)));
        (Observers::new(Arc::default(), clock.clone(), 7), clock)
    }

    fn twin() -> TwinId {
        TwinId::new("label").unwrap()
    }

    fn event() -> Vec<Outbound> {
        let (site, incarnation) = (SiteId::default_site(), Incarnation::new(1));
        vec![Outbound { twin: twin(), site, incarnation, at: WallTime::new(1), kind: OutboundKind::Created }]
    }

    #[test]
    fn one_that_was_cut_off_hears_what_it_missed_and_then_what_comes() {
        let (observers, _) = observers();
        let mut first = observers.observe(None);
        observers.tell(event());
        let heard = first.events.try_recv().unwrap().id;
        assert_eq!(heard.number, first.begun_at.number + 1);
        drop(first);
        observers.tell(event());
        let mut again = observers.observe(Some(Ok(heard)));
        observers.tell(event());
        let missed: Vec<u64> = again.missed.iter().map(|observed| observed.id.number).collect();
        assert_eq!((again.reset, missed), (None, vec![heard.number + 1]));
        assert_eq!(again.events.try_recv().unwrap().id.number, heard.number + 2);
        assert_eq!(again.begun_at.number, heard.number + 1);
    }

    #[test]
    fn a_while_after_the_last_left_nothing_is_kept_and_who_comes_back_then_is_told() {
        let (observers, clock) = observers();
        assert!(!observers.hear_of(&twin()));
        let first = observers.observe(None);
        let last = first.begun_at;
        drop(first);
        observers.tell(event());
        clock.advance(RESUMABLE_FOR / 2);
        observers.tell(event());
        assert!(observers.hear_of(&twin()));
        assert_eq!(observers.observe(Some(Ok(last))).missed.len(), 2);
        // That one left at once, so it begins anew.
        observers.tell(event());
        clock.advance(RESUMABLE_FOR);
        observers.tell(event());
        assert!(!observers.hear_of(&twin()), "nobody came back");
        observers.tell(event());
        // The newest that was numbered: one more happened since, which nobody was told.
        let newest = EventId { number: last.number + 4, ..last };
        for id in [last, newest] {
            let late = observers.observe(Some(Ok(id)));
            assert_eq!(late.reset, Some(Reset::TooOld), "{id}");
        }
        assert_eq!(observers.observe(Some(Err(Reset::Unknown))).reset, Some(Reset::Unknown));
    }

    #[test]
    fn a_follower_makes_its_own_twin_heard_and_no_other() {
        let (observers, _) = observers();
        let _follower = observers.followers().follow(&twin()).unwrap();
        assert!(observers.hear_of(&twin()));
        assert!(!observers.hear_of(&TwinId::new("other").unwrap()));
    }
}
