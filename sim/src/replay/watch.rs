//! What goes on beside the rows: the link, devices that another gateway took, progress.

use twin_gateway::{Gateway, TwinLink};

use super::error::ReplayError;
use super::progress::{Progress, Standing};
use super::recording::Recording;
use crate::limits::WATCH_EVERY;

/// Codes of session refusals that no waiting mends.
const FATAL: [&str; 4] = ["bad-credential", "other-site", "revoked", "unsupported-protocol"];

pub(crate) struct Watch<'a> {
    gateway: &'a Gateway,
    recordings: &'a [Recording],
}

impl<'a> Watch<'a> {
    pub(crate) fn new(gateway: &'a Gateway, recordings: &'a [Recording]) -> Self {
        Self { gateway, recordings }
    }

    /// Runs until something happens that ends the replay.
    pub(crate) async fn run(self, progress: &dyn Progress) -> ReplayError {
        let mut every = tokio::time::interval(WATCH_EVERY);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            progress.show(&Standing::of(self.gateway, self.recordings));
            let status = self.gateway.status();
            if let Some(message) = status.disk_failure {
                return ReplayError::Disk { message };
            }
            if let Some((code, message)) = status.refusal.filter(|(code, _)| FATAL.contains(&code.as_str())) {
                return ReplayError::GatewayRefused { code, message };
            }
            if status.conflicts > 0 {
                self.hear();
            }
        }
    }

    /// Another gateway attached a device last. A simulated device is in reach again at once: it is heard, and so claimed.
    fn hear(&self) {
        for recording in self.recordings {
            if let TwinLink::Conflict { last } = self.gateway.link(recording.device()) {
                tracing::info!(device = %recording.device(), %last, "another gateway had the device; claiming it");
                // The outbox says what is wrong with it soon enough.
                drop(self.gateway.attach(recording.device()));
            }
        }
    }
}
