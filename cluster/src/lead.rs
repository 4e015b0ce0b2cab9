//! Leading a group: what its host is told, and the way to the group's committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::mpsc;
use twin_core::event::Outbound;
use twin_core::grain::Ticket;
use twin_core::refusal::Refusal;
use twin_storage::{Budgets, RowChange};

use crate::admission::{Admitted, out_of};
use crate::stall::{Stall, disk_full};

pub(crate) type Done = twin_core::grain::Done<Arc<Admitted>>;

/// Numbers the periods in which this replica led with an unbroken chain. 0: none yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// A change on its way into an entry.
pub(crate) struct Proposal {
    pub(crate) generation: Generation,
    pub(crate) ticket: Ticket,
    pub(crate) rows: Vec<RowChange>,
    pub(crate) events: Vec<Outbound>,
    /// `None`: it was answered already, see [`Stall`].
    pub(crate) done: Option<Done>,
}

/// What the committer is given.
pub(crate) enum Work {
    Commit(Proposal),
    /// Answered once everything given before is applied.
    Confirm(Generation, Done),
}

/// Whoever computes on the group's state: told when it may, and when it must forget everything.
pub trait Host: Send + Sync + 'static {
    /// The barrier of a new generation is applied: state may be read and computed on, and given to the committer.
    fn begin(&self, lead: Lead);

    /// The chain is broken: throw everything computed away. Nothing of that generation will be committed any more.
    fn end(&self, generation: Generation);

    /// These events are committed. Called in the order of the commits.
    fn committed(&self, events: Vec<Outbound>);
}

/// A generation, and the way to commit in it.
#[derive(Clone)]
pub struct Lead {
    /// Its number.
    pub generation: Generation,
    /// Its Raft term.
    pub term: u64,
    pub(crate) committer: CommitterHandle,
}

impl Lead {
    /// Commits a change, told to the [`Host`] and then to `done`.
    pub fn commit(&self, rows: Vec<RowChange>, events: Vec<Outbound>, done: Done) -> Ticket {
        self.committer.commit(self.generation, rows, events, done)
    }

    /// Is this commit, and every one before it, applied? Of a generation that ended the answer means nothing.
    pub fn is_applied(&self, ticket: Ticket) -> bool {
        ticket.0 <= self.committer.applied.load(Ordering::Acquire)
    }

    /// Commits rows that no grain computed, and waits. Refused at once where rows, log or disk have no room for them.
    pub async fn commit_rows(&self, rows: Vec<RowChange>) -> Result<(), Refusal> {
        let bytes = rows.iter().map(RowChange::size_bytes).sum();
        self.committer.budgets.admit(bytes).map_err(|pressure| out_of(&pressure))?;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.commit(rows, Vec::new(), tell(sender));
        receiver.await.unwrap_or_else(|_| Err(crate::cell::owner_changed()))
    }

    /// Resolves once everything that was committed before can be read. What waits for room on the disk need not be: it is acknowledged
    /// to nobody. `is_current`: a sole voter of whom nobody else took over may say so by itself.
    pub async fn confirmed_committed(&self, is_current: impl Fn(Generation) -> bool) -> Result<(), Refusal> {
        match self.confirmed().await {
            Err(_) if self.is_stalled() && is_current(self.generation) => Ok(()),
            confirmed => confirmed,
        }
    }

    /// Refuses while entries that were answered as "not known" are not applied. To be asked by whoever reads rows, computes on them and
    /// writes, behind the lock under which it does so: what wrote before it under that lock may be one of those entries.
    pub fn settled(&self) -> Result<(), Refusal> {
        if self.is_stalled() { Err(disk_full()) } else { Ok(()) }
    }

    /// Do entries wait for room on the disk that were answered already?
    pub fn is_stalled(&self) -> bool {
        self.committer.stall.is_on(Ticket(self.committer.applied.load(Ordering::Acquire)))
    }

    /// Calls `done` once everything given before is applied.
    pub fn confirm(&self, done: Done) {
        self.committer.confirm(self.generation, done);
    }

    /// Resolves once everything given before is applied.
    pub async fn confirmed(&self) -> Result<(), Refusal> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.confirm(tell(sender));
        receiver.await.unwrap_or_else(|_| Err(crate::cell::owner_changed()))
    }
}

fn tell(sender: tokio::sync::oneshot::Sender<Result<(), Refusal>>) -> Done {
    Done::call(move |result| {
        // The asker may have gone.
        let _ = sender.send(result);
    })
}

/// The way to a committer.
#[derive(Clone)]
pub(crate) struct CommitterHandle {
    /// The queue, and the last ticket: tickets have the queue's order.
    pub(crate) work: Arc<Mutex<(mpsc::UnboundedSender<Work>, Ticket)>>,
    /// Highest ticket that is applied.
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) stall: Arc<Stall>,
    pub(crate) budgets: Arc<Budgets>,
}

impl CommitterHandle {
    /// The queue has no bound of its own: what waits in it was admitted by bytes before.
    fn commit(&self, generation: Generation, rows: Vec<RowChange>, events: Vec<Outbound>, done: Done) -> Ticket {
        let mut work = self.work.lock();
        work.1.0 += 1;
        let ticket = work.1;
        let refused = work.0.send(Work::Commit(Proposal { generation, ticket, rows, events, done: Some(done) }));
        drop(work);
        // A stopped committer drops the proposal, and `done` with it; outside the lock, as that answers.
        drop(refused);
        ticket
    }

    fn confirm(&self, generation: Generation, done: Done) {
        let refused = self.work.lock().0.send(Work::Confirm(generation, done));
        drop(refused);
    }
}
