//! What is desired of the devices served here.

use std::sync::Arc;

use super::Gateway;
use crate::core::desired::DesiredChange;
use crate::shared::Shared;

impl Gateway {
    /// Desired changes of the devices attached here. Several receivers share them: each change goes to one.
    pub fn desired(&self) -> DesiredChanges {
        DesiredChanges { shared: Arc::clone(&self.shared) }
    }
}

/// Desired changes, as they come.
#[derive(Clone)]
pub struct DesiredChanges {
    shared: Arc<Shared>,
}

impl DesiredChanges {
    /// The next change; `None` once the gateway is shut down. What it returns counts as delivered.
    pub async fn recv(&self) -> Option<DesiredChange> {
        loop {
            if let Some(change) = self.try_recv() {
                return Some(change);
            }
            tokio::select! {
                () = self.shared.desired_wake.notified() => {}
                () = self.shared.stop.cancelled() => return None,
            }
        }
    }

    /// The next changes, as many as there are, up to `max`; none once the gateway is shut down. What it returns counts as
    /// delivered.
    pub async fn recv_many(&self, max: usize) -> Vec<DesiredChange> {
        loop {
            let changes = self.shared.with(|core, _| core.next_changes(max));
            if !changes.is_empty() || max == 0 {
                return changes;
            }
            tokio::select! {
                () = self.shared.desired_wake.notified() => {}
                () = self.shared.stop.cancelled() => return Vec::new(),
            }
        }
    }

    /// A change, if there is one.
    pub fn try_recv(&self) -> Option<DesiredChange> {
        self.shared.with(|core, _| core.next_change())
    }
}

impl std::fmt::Debug for DesiredChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DesiredChanges").finish_non_exhaustive()
    }
}
