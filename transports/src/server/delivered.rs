//! "Delivered": telling a twin what its gateway has received.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;
use twin_core::command::{Answer, Command};
use twin_core::grain::Reply;
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::refusal::Refusal;

use super::backend::Backend;
use super::downlink::Link;
use super::session::Session;
use super::weight;
use crate::limits::ATTACH_ITEMS_MAX;

/// What a busy twin could not take yet; tried again at the next tick. Holds attached twins only, which bounds it.
#[derive(Default)]
pub(super) struct Undelivered(Mutex<HashMap<TwinId, Version>>);

impl Undelivered {
    fn note(&self, twin: TwinId, version: Version) {
        let mut open = self.0.lock();
        let known = open.entry(twin).or_default();
        *known = version.max(*known);
    }

    /// A part of it: not more at a time than a gateway may say in one frame.
    pub(super) fn take(&self) -> Vec<(TwinId, Version)> {
        let mut open = self.0.lock();
        let some: Vec<TwinId> = open.keys().take(ATTACH_ITEMS_MAX).cloned().collect();
        some.into_iter().filter_map(|twin| open.remove_entry(&twin)).collect()
    }
}

/// Tells the twin. The permit is held until it answered.
pub(super) fn deliver<B: Backend>(
    session: &Session<B>,
    twin: TwinId,
    version: Version,
    permit: Option<Arc<OwnedSemaphorePermit>>,
) {
    let command = Command::DesiredDelivered { gateway: session.gateway.clone(), version };
    let delivery = Delivery { link: session.link.clone(), open: Some((twin.clone(), version)), _permit: permit };
    session.backend.submit(&twin, command, weight::command_bytes(), Reply::once(move |result| delivery.answer(result)));
}

struct Delivery {
    link: Arc<Link>,
    open: Option<(TwinId, Version)>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Delivery {
    fn answer(mut self, result: Result<Answer, Refusal>) {
        let again = matches!(&result, Err(refusal) if refusal.retry_after().is_some());
        if !again {
            self.open = None;
            if let Err(refusal) = result {
                tracing::debug!(%refusal, "delivered was not taken");
            }
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let Some((twin, version)) = self.open.take() else { return };
        let attached = self.link.twins.lock().is_attached(&twin);
        if attached {
            self.link.undelivered.note(twin, version);
        }
    }
}
