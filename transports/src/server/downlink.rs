//! What goes down without being asked for: desired changes and method calls.
//!
//! A desired change comes with the operations that it was made of. If the session knows the version before, they are the delta, and
//! are encoded at once for the writer. Everything else only marks the twin as changed, and what it lacks is fetched from it: after an
//! attach, after an earlier fetch that is still under way, and where more waits to be written than may.
//!
//! **No gap, no going back.** Both ways take place under the lock of the attached twins, and change what was sent there in the same
//! step in which the delta is put behind those that wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::MissedTickBehavior;
use twin_core::command::{Answer, Command};
use twin_core::ids::TwinId;
use twin_core::numbers::{OwnerOrder, Version};
use twin_core::op::Op;
use twin_core::refusal::Refusal;

use super::attached::{AttachedTwins, Fetch, News};
use super::backend::{Backend, Downlink, Submission};
use super::collector::{Collector, Gather};
use super::delivered::{Undelivered, deliver};
use super::deltas::{Delta, DeltaFrame, Deltas};
use super::ending::Ending;
use super::handshake::Takes;
use super::outgoing::OutgoingSender;
use super::session::Session;
use super::stats::TransportStats;
use super::weight;
use crate::frames::device::Call;
use crate::frames::session::Notice;
use crate::limits::{
    CALLS_QUEUED_MAX, DELIVERED_INTERVAL, DESIRED_IN_FLIGHT_MAX, FETCH_RETRY_INTERVAL, SESSION_TWINS_MAX,
};
use crate::refuse::{RefusalCode, SessionRefusal};

/// The part of a session that the backend sees.
pub(super) struct Link {
    pub(super) ending: Ending,
    pub(super) twins: Mutex<AttachedTwins>,
    pub(super) undelivered: Undelivered,
    pub(super) out: OutgoingSender,
    pub(super) stats: Arc<TransportStats>,
    /// Taken after the lock of the twins, never before.
    deltas: Mutex<Deltas>,
    /// Deltas wait for the writer.
    deltas_wake: Notify,
    /// Position of the owner, in every delta; known before the first twin is attached.
    owner: Mutex<OwnerOrder>,
    fetching: AtomicUsize,
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
            deltas: Mutex::default(),
            deltas_wake: Notify::new(),
            owner: Mutex::default(),
            fetching: AtomicUsize::new(0),
            wake: Notify::new(),
            calls: Arc::new(Semaphore::new(CALLS_QUEUED_MAX)),
        }
    }

    /// What the gateway's release understands.
    pub(super) fn takes(&self, takes: &Takes) {
        self.deltas.lock().is_many = takes.desired_many;
    }

    /// Whose deltas these are: before any twin is attached.
    pub(super) fn owned_by(&self, owner: OwnerOrder) {
        *self.owner.lock() = owner;
    }

    /// There may be a fetch to make. The permit of `notify_one` is kept if nobody waits just now.
    pub(super) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Resolves when deltas may wait.
    pub(super) async fn deltas_wait(&self) {
        self.deltas_wake.notified().await;
    }

    /// The next deltas to write, and whether more wait.
    pub(super) fn take_deltas(&self) -> (Option<DeltaFrame>, bool) {
        let mut deltas = self.deltas.lock();
        let had_room = deltas.has_room();
        let frame = deltas.take();
        let (has_room, are_more) = (deltas.has_room(), !deltas.is_empty());
        drop(deltas);
        if has_room && !had_room {
            self.wake();
        }
        (frame, are_more)
    }

    /// Puts a delta behind those that wait. `false`: it is too large as it is.
    fn push(&self, twin: &TwinId, from: Version, to: Version, snapshot: bool, ops: &[Op]) -> bool {
        let owner = *self.owner.lock();
        let mut deltas = self.deltas.lock();
        let is_first = deltas.is_empty();
        let pushed = deltas.push(&Delta { twin, owner, from, to, snapshot, ops });
        drop(deltas);
        if pushed {
            self.stats.desired_sent.add(1);
            if is_first {
                self.deltas_wake.notify_one();
            }
        }
        pushed
    }

    /// As many fetches as may be under way besides those that are.
    async fn next_fetches(&self) -> Vec<Fetch> {
        loop {
            let under_way = self.fetching.load(Ordering::Acquire);
            if under_way < DESIRED_IN_FLIGHT_MAX && self.deltas.lock().has_room() {
                let mut twins = self.twins.lock();
                let next = std::iter::from_fn(|| twins.next_fetch());
                let fetches: Vec<Fetch> = next.take(DESIRED_IN_FLIGHT_MAX - under_way).collect();
                if !fetches.is_empty() {
                    self.fetching.fetch_add(fetches.len(), Ordering::AcqRel);
                    return fetches;
                }
            }
            self.wake.notified().await;
        }
    }

    /// The backend answered a fetch.
    fn fetched(&self, fetch: &Fetch, result: Result<Answer, Refusal>) {
        let mut twins = self.twins.lock();
        match result {
            Ok(Answer::Delta(delta)) => {
                let news = delta.snapshot || delta.to != delta.from;
                let sent = !news || !twins.wants(fetch) || {
                    self.push(&fetch.twin, delta.from, delta.to, delta.snapshot, &delta.ops)
                };
                if sent {
                    twins.fetched(fetch, delta.to);
                } else {
                    // As operations it is too large: a snapshot is not.
                    twins.unsendable(fetch, delta.snapshot);
                    self.stats.frames_unsendable.add(1);
                    tracing::error!(twin = %fetch.twin, snapshot = delta.snapshot, "a delta is too large to be sent");
                }
            }
            Ok(_) => twins.failed(fetch, true),
            Err(refusal) => {
                tracing::debug!(twin = %fetch.twin, %refusal, "desired not fetched");
                twins.failed(fetch, refusal.retry_after().is_some());
            }
        }
    }
}

impl Downlink for Link {
    fn desired_changed(&self, twin: &TwinId) {
        if self.twins.lock().changed(twin) {
            self.wake();
        }
    }

    fn desired_became(&self, twin: &TwinId, version: Version, ops: &[Op]) {
        let mut twins = self.twins.lock();
        let due = match twins.became(twin, version) {
            News::Nothing => false,
            News::Follows { from } => {
                if self.deltas.lock().has_room() && self.push(twin, from, version, false, ops) {
                    twins.sent(twin, version);
                    return;
                }
                twins.changed(twin)
            }
            News::Fetch => twins.changed(twin),
        };
        drop(twins);
        if due {
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

    fn notice(&self, code: &'static str, message: &str) {
        // Of what else goes down unasked calls are bounded, and so is this, with them.
        if let Ok(permit) = self.calls.clone().try_acquire_owned() {
            self.out.send(Notice { code: code.to_owned(), message: message.to_owned() }, permit);
        }
    }

    fn close(&self, code: &'static str, message: &str) {
        self.ending.refuse(match RefusalCode::from_code(code) {
            Some(code) => SessionRefusal::new(code, message),
            None => SessionRefusal::new(RefusalCode::Internal, format!("{code}: {message}")),
        });
    }
}

/// Fetches that were submitted together. Their answers, and replies that were dropped unanswered, all come here.
struct FetchGather {
    link: Arc<Link>,
    fetches: Vec<Fetch>,
}

impl Gather for FetchGather {
    fn settle(&self, index: usize, result: Result<Answer, Refusal>) {
        if let Some(fetch) = self.fetches.get(index) {
            self.link.fetched(fetch, result);
            self.link.fetching.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn finish(&self) {
        self.link.wake();
    }
}

/// Fetches what changed, a bounded number of twins at a time, and tells what was delivered, until the session is over.
pub(super) async fn fetch_desired<B: Backend>(session: &Session<B>) {
    let (link, backend) = (&session.link, &session.backend);
    let mut retries = tokio::time::interval(FETCH_RETRY_INTERVAL);
    let mut deliveries = tokio::time::interval(DELIVERED_INTERVAL);
    retries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    deliveries.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let fetches = tokio::select! {
            biased;
            () = link.ending.over() => return,
            _ = retries.tick() => {
                link.twins.lock().tick();
                // Looked for below: nothing waits for them now.
                continue;
            }
            _ = deliveries.tick() => {
                deliver(session, link.undelivered.take());
                continue;
            }
            // May be dropped by a tick while it waits: fetches are taken only in the step that returns them.
            fetches = link.next_fetches() => fetches,
        };
        let commands: Vec<(TwinId, Command)> =
            fetches.iter().map(|fetch| (fetch.twin.clone(), Command::ReadDelta { since: fetch.since })).collect();
        let collector = Collector::new(FetchGather { link: link.clone(), fetches });
        let submission = |(index, (twin, command))| {
            let reply = collector.reply(index);
            Submission { twin, command, bytes: weight::command_bytes(), reply }
        };
        backend.submit_all(commands.into_iter().enumerate().map(submission).collect());
        collector.seal();
    }
}
