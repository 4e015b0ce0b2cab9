//! Those who watch: they hear of every committed event, in the order of the commits of its cell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::broadcast;
use twin_core::event::{Outbound, OutboundKind};

use crate::limits::OBSERVER_BACKLOG_MAX;
use crate::sessions::Sessions;

/// Spreads committed events.
pub struct Observers {
    events: broadcast::Sender<Arc<Outbound>>,
    sessions: Arc<Sessions>,
    /// Set by whoever begins to watch, cleared with the first event that nobody takes. Asked for every report, hence not the
    /// channel's own count, which is behind a lock.
    watched: AtomicBool,
}

impl Observers {
    /// Nobody watches yet.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { events: broadcast::Sender::new(OBSERVER_BACKLOG_MAX), sessions, watched: AtomicBool::new(false) }
    }

    /// Is anybody watching? Whoever begins to watch hears of what is done from then on; reports that were being committed in
    /// that moment may be missing, as if they had come before.
    pub fn any(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// A new observer. One that falls behind by more than the backlog is told how many events it missed.
    pub fn observe(&self) -> broadcast::Receiver<Arc<Outbound>> {
        let observer = self.events.subscribe();
        self.watched.store(true, Ordering::Relaxed);
        observer
    }

    /// Tells gateways what concerns them, and observers everything.
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
            if self.any() && self.events.send(Arc::new(event)).is_err() {
                self.watched.store(false, Ordering::Relaxed);
                // Somebody may have come in between.
                if self.events.receiver_count() > 0 {
                    self.watched.store(true, Ordering::Relaxed);
                }
            }
        }
    }
}
