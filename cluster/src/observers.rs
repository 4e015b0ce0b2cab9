//! Those who watch: they hear of every committed event, in the order of the commits of its cell.

use std::sync::Arc;

use tokio::sync::broadcast;
use twin_core::event::{Outbound, OutboundKind};

use crate::limits::OBSERVER_BACKLOG_MAX;
use crate::sessions::Sessions;

/// Spreads committed events.
pub struct Observers {
    events: broadcast::Sender<Arc<Outbound>>,
    sessions: Arc<Sessions>,
}

impl Observers {
    /// Nobody watches yet.
    pub fn new(sessions: Arc<Sessions>) -> Self {
        Self { events: broadcast::Sender::new(OBSERVER_BACKLOG_MAX), sessions }
    }

    /// A new observer. One that falls behind by more than the backlog is told how many events it missed.
    pub fn observe(&self) -> broadcast::Receiver<Arc<Outbound>> {
        self.events.subscribe()
    }

    /// Tells gateways what concerns them, and observers everything.
    pub fn tell(&self, events: Vec<Outbound>) {
        for event in events {
            match &event.kind {
                OutboundKind::Desired { gateway: Some(gateway), .. } => {
                    self.sessions.desired_changed(gateway, &event.twin);
                }
                OutboundKind::Attached { gateway, before: Some(before), .. } if before != gateway => {
                    self.sessions.detached(before, &event.twin);
                }
                _ => {}
            }
            if self.events.receiver_count() > 0 {
                // Fails only if the last observer left in this moment.
                let _ = self.events.send(Arc::new(event));
            }
        }
    }
}
