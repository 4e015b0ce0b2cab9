//! The committer of a Raft group: many changes, one entry, one chain.
//!
//! While earlier entries are in flight, what arrives is gathered; when one comes back, everything gathered goes out as ONE
//! entry. So the batch grows with the load and a lone change waits for nobody.
//!
//! **Invariants**
//! - Changes are applied in the order in which they were given, or not at all from some point on ([`crate::chain`]).
//! - `done(Ok)` is called only after the entry is applied, in the same order.
//! - Work of an older [`Generation`] is never proposed: it was computed on a state that was thrown away.
//! - Whoever waits is always told: work that is dropped drops its `done`, which answers "unavailable".
//! - A chain whose entries wait for room on the disk stalls, and is not broken: they are in the log's order, and are applied once there
//!   is room. Whoever waits is told within [`DISK_FULL_ANSWER_AFTER`] that the outcome is not known; what is computed goes on to rest on
//!   those entries. Until they are applied, nothing that is *not* computed from what is in flight may be written ([`Lead::settled`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::impls::ProgressResponder;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twin_core::event::Outbound;
use twin_core::grain::Ticket;
use twin_storage::consensus::{CommittedLeaderId, Raft, TypeConfig};
use twin_storage::{Applied, Budgets, ChainLink, EntryData, RowChange};

use crate::chain::Chain;
use crate::lead::{CommitterHandle, Done, Generation, Host, Lead, Work};
use crate::limits::{
    COMMIT_DEADLINE, DISK_FULL_ANSWER_AFTER, ENTRIES_IN_FLIGHT_MAX, ENTRY_FILL_BYTES, ENTRY_ROWS_MAX,
    PROPOSALS_GATHERED_MAX,
};
use crate::stall::disk_full;
use crate::stats::Counters;

/// A deliberate bug, so that the auditor can be shown to find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlantedBug {
    /// Answers from memory, and writes behind.
    AckBeforeCommit,
}

/// How far behind a planted bug writes: longer than an answer takes to a gateway's outbox, as a commit itself is not.
const PLANTED_WRITE_BEHIND: Duration = Duration::from_millis(20);

/// The task that proposes for one group.
pub struct Committer<H> {
    raft: Raft,
    host: Arc<H>,
    counters: Arc<Counters>,
    planted: Option<PlantedBug>,
    handle: CommitterHandle,
    generation: Generation,
    /// Highest number handed out, by term.
    last: Chain,
}

struct InFlight {
    outcome: tokio::sync::oneshot::Receiver<Outcome>,
    deadline: tokio::time::Instant,
    /// When it is looked why it takes so long.
    look_at: tokio::time::Instant,
    /// The last of its commits.
    newest: Ticket,
    /// Without `Done`: it was answered already, see [`crate::stall`].
    commits: Vec<(Vec<Outbound>, Option<Done>)>,
    confirms: Vec<Done>,
}

type Outcome = openraft::raft::ClientWriteResult<TypeConfig>;

/// Why a generation ended.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("entry refused by the chain rule: {0}")]
    Refused(String),
    #[error("entry not accepted: {0}")]
    NotAccepted(String),
    #[error("no outcome within {COMMIT_DEADLINE:?}")]
    Deadline,
    #[error("the group is shutting down")]
    Stopped,
}

impl<H: Host> Committer<H> {
    /// Starts the task; it ends with `stop`.
    pub fn start(
        raft: Raft,
        host: Arc<H>,
        budgets: Arc<Budgets>,
        counters: Arc<Counters>,
        planted: Option<PlantedBug>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let (work, queue) = mpsc::unbounded_channel();
        let work = Arc::new(Mutex::new((work, Ticket::default())));
        let committer = Self {
            raft,
            host,
            counters,
            planted,
            handle: CommitterHandle { work, applied: Arc::default(), stall: Arc::default(), budgets },
            generation: Generation::default(),
            last: Chain::behind(0, 0),
        };
        // What is still queued at the end is dropped with the queue, and answered "unavailable".
        tokio::spawn(committer.run(queue, stop))
    }

    async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Work>, stop: CancellationToken) {
        loop {
            let chain = tokio::select! {
                () = stop.cancelled() => return,
                chain = self.lead(&mut queue) => chain,
            };
            let generation = Generation(self.generation.0 + 1);
            self.generation = generation;
            // All that was in flight before is applied before the barrier, or never will be.
            self.handle.stall.end();
            self.host.begin(Lead { generation, term: chain.term(), committer: self.handle.clone() });
            tracing::info!(term = chain.term(), generation = generation.0, "the chain begins");
            let broken = self.serve(chain, &mut queue, &stop).await;
            self.host.end(generation);
            if matches!(broken, Broken::Stopped) {
                return;
            }
            self.counters.poisonings.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%broken, generation = generation.0, "the chain broke: grains are thrown away");
        }
    }

    /// Waits until this replica leads and its barrier is applied. Work that arrives meanwhile belongs to an older generation
    /// and is dropped.
    async fn lead(&mut self, queue: &mut mpsc::UnboundedReceiver<Work>) -> Chain {
        // The same channel that `as_leader` reads: another one may tell of a change before this one has it, and the wake-up
        // would be lost.
        let mut metrics = self.raft.metrics();
        loop {
            if let Ok(leader) = self.raft.as_leader() {
                let term = leader.to_committed_leader_id().term;
                let last = if self.last.term() == term { self.last.last() } else { 0 };
                let mut chain = Chain::behind(term, last);
                let link = chain.next_link();
                self.last = chain;
                match self.propose(EntryData::barrier(link), &leader.to_committed_leader_id()).await {
                    Ok(outcome) => match self.outcome_of_barrier(outcome, queue).await {
                        Ok(Ok(Ok(response))) if matches!(response.data, Applied::Applied) => return chain,
                        other => tracing::info!(term, ?other, "the barrier was not applied; trying again"),
                    },
                    Err(broken) => tracing::info!(term, %broken, "the barrier was not accepted; trying again"),
                }
                // A write just after taking over can be refused once: try again in a few milliseconds.
                let pause = tokio::time::Instant::now() + Duration::from_millis(5);
                tokio::time::sleep_until(pause).await;
                continue;
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() { std::future::pending::<()>().await },
                dropped = queue.recv() => drop(dropped),
            }
        }
    }

    /// A barrier that waits for room on the disk is waited for: another one would stand behind it in the log.
    async fn outcome_of_barrier(
        &self,
        mut outcome: tokio::sync::oneshot::Receiver<Outcome>,
        queue: &mut mpsc::UnboundedReceiver<Work>,
    ) -> Result<Result<Outcome, tokio::sync::oneshot::error::RecvError>, tokio::time::error::Elapsed> {
        loop {
            let deadline = tokio::time::Instant::now() + COMMIT_DEADLINE;
            let waited = tokio::time::timeout_at(deadline, async {
                loop {
                    tokio::select! {
                        outcome = &mut outcome => return outcome,
                        // Of an older generation.
                        Some(dropped) = queue.recv() => drop(dropped),
                    }
                }
            });
            match waited.await {
                Err(_) if self.handle.budgets.log_waits_for_room() => {}
                done => return done,
            }
        }
    }

    async fn propose(
        &self,
        data: EntryData,
        leader: &CommittedLeaderId,
    ) -> Result<tokio::sync::oneshot::Receiver<Outcome>, Broken> {
        let (responder, outcome) = ProgressResponder::complete_only();
        self.raft
            .write(data)
            .with_leader(*leader)
            .responder(responder)
            .await
            .map_err(|fatal| Broken::NotAccepted(fatal.to_string()))?;
        Ok(outcome)
    }

    /// Proposes until the chain breaks.
    async fn serve(
        &mut self,
        mut chain: Chain,
        queue: &mut mpsc::UnboundedReceiver<Work>,
        stop: &CancellationToken,
    ) -> Broken {
        let Ok(leader) = self.raft.as_leader() else {
            return Broken::NotAccepted("leadership was lost at once".into());
        };
        let leader = leader.to_committed_leader_id();
        let mut metrics = self.raft.server_metrics();
        let mut in_flight: VecDeque<InFlight> = VecDeque::new();
        let mut gathered = Vec::new();
        // Work that did not fit into the entry before.
        let mut held: VecDeque<Work> = VecDeque::new();
        loop {
            // Once stopping, what is in flight is finished and nothing is added. What waits for room is not waited for: it was answered.
            let idle = in_flight.is_empty() || stop.is_cancelled() && self.answered_all(&in_flight);
            let may_propose = in_flight.len() < ENTRIES_IN_FLIGHT_MAX && !stop.is_cancelled();
            if may_propose && held.is_empty() {
                while gathered.len() < PROPOSALS_GATHERED_MAX
                    && let Ok(work) = queue.try_recv()
                {
                    gathered.push(work);
                }
                held.extend(gathered.drain(..));
            }
            if may_propose && !held.is_empty() {
                if let Err(broken) = self.propose_held(&mut held, &mut chain, &leader, &mut in_flight).await {
                    return broken;
                }
                continue;
            }
            let oldest = async {
                match in_flight.front_mut() {
                    Some(entry) => tokio::time::timeout_at(entry.deadline.min(entry.look_at), &mut entry.outcome).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                outcome = oldest => {
                    if outcome.is_err() {
                        let now = tokio::time::Instant::now();
                        let waits_for_room = self.handle.budgets.log_waits_for_room();
                        if waits_for_room {
                            while let Ok(work) = queue.try_recv() {
                                held.push_back(work);
                            }
                            self.answer_that_it_waits(&mut in_flight, &mut held);
                        }
                        if let Some(entry) = in_flight.front_mut() {
                            entry.look_at = now + DISK_FULL_ANSWER_AFTER;
                            if waits_for_room {
                                // It has failed nobody: it may take until there is some.
                                entry.deadline = now + COMMIT_DEADLINE;
                            }
                            if now < entry.deadline {
                                continue;
                            }
                        }
                    }
                    let Some(entry) = in_flight.pop_front() else { continue };
                    self.counters.entries_in_flight.store(in_flight.len() as u64, Ordering::Relaxed);
                    match outcome {
                        Ok(Ok(Ok(response))) => match response.data {
                            Applied::Applied => self.complete(entry),
                            refused @ Applied::ChainRefused { .. } => return Broken::Refused(format!("{refused:?}")),
                        },
                        Ok(Ok(Err(error))) => return Broken::NotAccepted(error.to_string()),
                        Ok(Err(_)) => return Broken::NotAccepted("the Raft group stopped".into()),
                        Err(_) => return Broken::Deadline,
                    }
                }
                changed = metrics.changed() => {
                    if changed.is_err() {
                        return Broken::NotAccepted("the Raft group stopped".into());
                    }
                    if metrics.borrow_watched().vote.leader_id.term != chain.term() {
                        return Broken::NotAccepted("another term began".into());
                    }
                }
                _ = queue.recv_many(&mut gathered, PROPOSALS_GATHERED_MAX), if may_propose => {
                    held.extend(gathered.drain(..));
                }
                () = stop.cancelled(), if idle => return Broken::Stopped,
            }
        }
    }

    /// Makes one entry of what is held (as far as it fits) and proposes it.
    async fn propose_held(
        &mut self,
        held: &mut VecDeque<Work>,
        chain: &mut Chain,
        leader: &CommittedLeaderId,
        in_flight: &mut VecDeque<InFlight>,
    ) -> Result<(), Broken> {
        let mut rows = Vec::new();
        let mut bytes = 0_u64;
        let mut newest = Ticket::default();
        let mut commits = Vec::new();
        let mut confirms = Vec::new();
        while let Some(work) = held.pop_front() {
            match work {
                Work::Commit(proposal) if proposal.generation == self.generation => {
                    let proposal_bytes: u64 = proposal.rows.iter().map(RowChange::size_bytes).sum();
                    let is_full = bytes + proposal_bytes > ENTRY_FILL_BYTES || rows.len() >= ENTRY_ROWS_MAX;
                    if !commits.is_empty() && is_full {
                        held.push_front(Work::Commit(proposal));
                        break;
                    }
                    bytes += proposal_bytes;
                    newest = proposal.ticket;
                    rows.extend(proposal.rows);
                    commits.push((proposal.events, proposal.done));
                }
                Work::Confirm(generation, done) if generation == self.generation => {
                    if commits.is_empty() && in_flight.is_empty() {
                        // A sole voter needs no ReadIndex round: nobody else can lead. Nothing is in flight, so everything
                        // given before is applied.
                        done.tell(Ok(()));
                    } else if commits.is_empty() {
                        if let Some(newest) = in_flight.back_mut() {
                            newest.confirms.push(done);
                        }
                    } else {
                        confirms.push(done);
                    }
                }
                // Of an older generation: dropping it answers.
                Work::Commit(_) | Work::Confirm(..) => {}
            }
        }
        if commits.is_empty() {
            return Ok(());
        }
        self.counters.entries.fetch_add(1, Ordering::Relaxed);
        self.counters.entry_changes.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.counters.entry_bytes.fetch_add(bytes, Ordering::Relaxed);
        let link: ChainLink = chain.next_link();
        self.last = *chain;
        let entry = EntryData::batch(link, rows).map_err(|error| Broken::NotAccepted(error.to_string()))?;
        if self.planted == Some(PlantedBug::AckBeforeCommit) {
            for (events, done) in commits.drain(..) {
                self.host.committed(events);
                tell_if_any(done);
            }
            tokio::time::sleep_until(tokio::time::Instant::now() + PLANTED_WRITE_BEHIND).await;
        }
        let outcome = self.propose(entry, leader).await?;
        let now = tokio::time::Instant::now();
        let (deadline, look_at) = (now + COMMIT_DEADLINE, now + DISK_FULL_ANSWER_AFTER);
        in_flight.push_back(InFlight { outcome, deadline, look_at, newest, commits, confirms });
        self.counters.entries_in_flight.store(in_flight.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Tells whoever waits that the log waits for room, and when to ask again. What was to be committed stays what it is and where it
    /// is: grains have computed on it.
    ///
    /// Bounded: while the log waits nothing that needs room is admitted.
    fn answer_that_it_waits(&self, in_flight: &mut VecDeque<InFlight>, held: &mut VecDeque<Work>) {
        let mut answered: Vec<Done> = Vec::new();
        let mut newest = Ticket::default();
        for entry in in_flight {
            newest = newest.max(entry.newest);
            answered.extend(entry.commits.iter_mut().filter_map(|(_, done)| done.take()));
            answered.append(&mut entry.confirms);
        }
        let mut kept = VecDeque::new();
        for work in held.drain(..) {
            match work {
                Work::Commit(mut proposal) => {
                    newest = newest.max(proposal.ticket);
                    answered.extend(proposal.done.take());
                    kept.push_back(Work::Commit(proposal));
                }
                Work::Confirm(_, done) => answered.push(done),
            }
        }
        *held = kept;
        // Before anybody is told: whoever is answered, lets go of a lock and takes it again finds the stall.
        if self.handle.stall.begin(newest) {
            tracing::error!("the log waits for room on the disk: whoever waited for a commit is told to ask again");
        }
        for done in answered {
            done.tell(Err(disk_full()));
        }
    }

    /// Is nobody left who waits for one of these?
    fn answered_all(&self, in_flight: &VecDeque<InFlight>) -> bool {
        let waits =
            |entry: &InFlight| !entry.confirms.is_empty() || entry.commits.iter().any(|(_, done)| done.is_some());
        self.handle.budgets.log_waits_for_room() && !in_flight.iter().any(waits)
    }

    /// The entry is applied: tells everyone, in order.
    fn complete(&self, entry: InFlight) {
        // Before the answers: who has one and reads finds nothing in flight.
        self.handle.applied.store(entry.newest.0, Ordering::Release);
        for (events, done) in entry.commits {
            if !events.is_empty() {
                self.host.committed(events);
            }
            tell_if_any(done);
        }
        for done in entry.confirms {
            done.tell(Ok(()));
        }
    }
}

fn tell_if_any(done: Option<Done>) {
    if let Some(done) = done {
        done.tell(Ok(()));
    }
}
