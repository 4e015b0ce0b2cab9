//! What goes down without being asked for: desired changes and method calls.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use twin_core::command::{Answer, Command};
use twin_core::grain::Reply;
use twin_core::ids::TwinId;
use twin_core::numbers::OwnerOrder;
use twin_core::refusal::Refusal;

use super::attached::{AttachedTwins, Fetch};
use super::backend::{Backend, Downlink};
use super::delivered::{Undelivered, deliver};
use super::ending::Ending;
use super::outgoing::OutgoingSender;
use super::session::Session;
use super::stats::TransportStats;
use super::weight;
use crate::frames::device::{Call, Desired};
use crate::limits::{CALLS_QUEUED_MAX, DESIRED_IN_FLIGHT_MAX, FETCH_RETRY_INTERVAL, SESSION_TWINS_MAX};
use crate::refuse::{RefusalCode, SessionRefusal};

/// The part of a session that the backend sees.
pub(super) struct Link {
    pub(super) ending: Ending,
    pub(super) twins: Mutex<AttachedTwins>,
    pub(super) undelivered: Undelivered,
    pub(super) out: OutgoingSender,
    pub(super) stats: Arc<TransportStats>,
    wake: Notify,
    calls: Arc<Semaphore>,
}

impl Link {
    pub(super) fn new(out: OutgoingSender, stats: Arc<TransportStats>) -> Self {
        Self {
            ending: Ending::new(),
            twins: Mutex::new(AttachedTwins::new(SESSION_TWINS_MAX)),
            undelivered: Undelivered::default(),
            out,
            stats,
            wake: Notify::new(),
            calls: Arc::new(Semaphore::new(CALLS_QUEUED_MAX)),
        }
    }

    /// There may be a fetch to make. The permit of `notify_one` is kept if nobody waits just now.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    async fn next_fetch(&self) -> Fetch {
        loop {
            if let Some(fetch) = self.twins.lock().next_fetch() {
                return fetch;
            }
            self.wake.notified().await;
        }
    }

    /// The backend answered a fetch.
    fn fetched(&self, fetch: &Fetch, result: Result<Answer, Refusal>, owner: OwnerOrder, permit: OwnedSemaphorePermit) {
        let mut twins = self.twins.lock();
        match result {
            Ok(Answer::Delta(delta)) => {
                // Sent under the lock: the next fetch of this twin begins after this frame is in the queue, so the frames
                // are in the order of their versions.
                let news = delta.snapshot || delta.to != delta.from;
                if twins.fetched(fetch, delta.to) && news {
                    let frame = Desired {
                        twin: fetch.twin.clone(),
                        owner,
                        from: delta.from,
                        to: delta.to,
                        snapshot: delta.snapshot,
                        ops: delta.ops,
                    };
                    if self.out.send(frame, permit) {
                        self.stats.desired_sent.add(1);
                    }
                }
            }
            Ok(_) => twins.failed(fetch, true),
            Err(refusal) => {
                tracing::debug!(twin = %fetch.twin, %refusal, "desired not fetched");
                twins.failed(fetch, refusal.retry_after().is_some());
            }
        }
        drop(twins);
        self.wake();
    }
}

impl Downlink for Link {
    fn desired_changed(&self, twin: &TwinId) {
        if self.twins.lock().changed(twin) {
            self.wake();
        }
    }

    fn detached(&self, twin: &TwinId) {
        self.twins.lock().lost(twin);
    }

    fn call(&self, call: Call) -> bool {
        if self.ending.is_over() {
            return false;
        }
        let Ok(permit) = self.calls.clone().try_acquire_owned() else { return false };
        let sent = self.out.send(call, permit);
        if sent {
            self.stats.calls_sent.add(1);
        }
        sent
    }

    fn close(&self, code: &'static str, message: &str) {
        self.ending.refuse(match RefusalCode::from_code(code) {
            Some(code) => SessionRefusal::new(code, message),
            None => SessionRefusal::new(RefusalCode::Internal, format!("{code}: {message}")),
        });
    }
}

/// Gives its fetch back when the backend drops the reply unanswered.
struct Fetching {
    link: Arc<Link>,
    owner: OwnerOrder,
    open: Option<(Fetch, OwnedSemaphorePermit)>,
}

impl Fetching {
    fn answer(mut self, result: Result<Answer, Refusal>) {
        if let Some((fetch, permit)) = self.open.take() {
            self.link.fetched(&fetch, result, self.owner, permit);
        }
    }
}

impl Drop for Fetching {
    fn drop(&mut self) {
        if let Some((fetch, _permit)) = self.open.take() {
            self.link.twins.lock().failed(&fetch, true);
        }
    }
}

/// Fetches what changed, a bounded number of twins at a time, until the session is over.
pub(super) async fn fetch_desired<B: Backend>(session: &Session<B>) {
    let (link, backend, owner) = (&session.link, &session.backend, session.grant.owner);
    let permits = Arc::new(Semaphore::new(DESIRED_IN_FLIGHT_MAX));
    let mut ticks = tokio::time::interval(FETCH_RETRY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let next = async |permits: &Arc<Semaphore>| {
        let permit = permits.clone().acquire_owned().await.ok()?;
        Some((link.next_fetch().await, permit))
    };
    loop {
        let (fetch, permit) = tokio::select! {
            biased;
            () = link.ending.over() => return,
            _ = ticks.tick() => {
                link.twins.lock().tick();
                for (twin, version) in link.undelivered.take() {
                    deliver(session, twin, version, None);
                }
                continue;
            }
            // May be dropped by a tick while it waits: a fetch is taken only in the step that returns it.
            next = next(&permits) => match next {
                Some(next) => next,
                None => return,
            },
        };
        let (twin, since) = (fetch.twin.clone(), fetch.since);
        let fetching = Fetching { link: link.clone(), owner, open: Some((fetch, permit)) };
        backend.submit(
            &twin,
            Command::ReadDelta { since },
            weight::command_bytes(),
            Reply::once(move |result| fetching.answer(result)),
        );
    }
}
