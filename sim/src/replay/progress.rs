//! How far a replay is.

use twin_gateway::Gateway;

use super::recording::Recording;

/// How far a replay is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Rows of all recordings.
    pub rows: u64,
    /// Rows that were reported: in the outbox, or further.
    pub reported: u64,
    /// Rows that the node settled.
    pub acked: u64,
    /// Is there a session?
    pub connected: bool,
    /// Devices that the node does not know.
    pub unregistered: u64,
    /// The last refusal of a session, until one is open.
    pub refusal: Option<String>,
    /// Why the last session or attempt ended, until one is open.
    pub failure: Option<String>,
}

impl Standing {
    pub(crate) fn of(gateway: &Gateway, recordings: &[Recording]) -> Self {
        let status = gateway.status();
        let reported =
            recordings.iter().map(|recording| gateway.position(recording.source()).unwrap_or(0)).sum::<u64>();
        Self {
            rows: recordings.iter().map(Recording::rows).sum(),
            reported,
            acked: reported.saturating_sub(status.backlog_messages),
            connected: status.connected,
            unregistered: status.unregistered,
            failure: status.failure,
            refusal: status.refusal.map(|(code, message)| format!("{message} ({code})")),
        }
    }
}

/// Where progress is shown.
pub trait Progress: Send + Sync {
    /// Called every so often, and at the end.
    fn show(&self, standing: &Standing);
}

/// Shows nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn show(&self, _: &Standing) {}
}
