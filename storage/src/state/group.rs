//! One group's state in memory, and what all groups share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use openraft::EntryPayload;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use twin_core::numbers::CellId;

use super::backup::Tracking;
use super::base::Base;
use super::checkpoint::Command;
use super::dirty::{Buffers, DirtyRows};
use super::tables::Covered;
use crate::budgets::Budgets;
use crate::chain;
use crate::consensus::{Entry, LogId, StoredMembership};
use crate::entry::{Applied, Change};
use crate::failure::FailureFlag;
use crate::limits::DIRTY_EARLY_CHECKPOINT_DIVISOR;
use crate::space::Space;
use crate::stats::StorageStats;

/// What all groups of a node share.
pub(crate) struct StateShared {
    pub(crate) groups: RwLock<BTreeMap<CellId, Arc<GroupState>>>,
    /// What a backup under way must hear of, if there is one. Its lock is taken before a group's and that of `base`.
    pub(crate) backup: Mutex<Option<Tracking>>,
    /// The file as of the last checkpoint. Read it only under a group's lock, see [`GroupView`].
    pub(crate) base: RwLock<Arc<Base>>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) stats: Arc<StorageStats>,
    pub(crate) space: Arc<Space>,
    /// Number of the journal's last frame that is durable. Set by the log thread.
    pub(crate) journal_durable: Arc<AtomicU64>,
    pub(crate) failure: FailureFlag,
    pub(crate) sender: Mutex<Sender<Command>>,
    /// Whether the checkpointer was asked to come early and has not yet.
    pub(crate) asked_early: AtomicBool,
}

/// One group's state in memory.
pub(crate) struct GroupState {
    pub(crate) cell: CellId,
    pub(super) view: RwLock<GroupView>,
    pub(super) durable: watch::Sender<Option<LogId>>,
    /// Index after that of the durable checkpoint, for the log thread; 0 without one.
    checkpointed: Arc<AtomicU64>,
}

/// The layers above the file.
///
/// Invariant: whoever holds the group's lock and takes {active, frozen, base} has one snapshot at an entry
/// boundary. A checkpoint puts the new base in place before it drops `frozen` under the lock; in between,
/// `frozen` hides rows of the new base that are equal to it.
#[derive(Default)]
pub(super) struct GroupView {
    pub(super) active: DirtyRows,
    pub(super) frozen: Option<Arc<DirtyRows>>,
    /// What active, frozen and base together cover.
    pub(super) covered: Covered,
    /// Whether anything was applied since the last freeze.
    pub(super) changed: bool,
}

impl StateShared {
    pub(crate) fn group(&self, cell: CellId) -> Option<Arc<GroupState>> {
        self.groups.read().get(&cell).cloned()
    }

    pub(crate) fn send(&self, command: Command) -> io::Result<()> {
        self.sender.lock().send(command).map_err(|_| io::Error::other("the storage is shut down"))
    }

    /// Accounts for applied rows, and asks for an early checkpoint when they grew to a share of the budget.
    fn grew(&self, bytes: i64) {
        if bytes < 0 {
            self.budgets.sub_dirty(bytes.unsigned_abs());
            return;
        }
        let dirty = self.budgets.add_dirty(bytes.unsigned_abs());
        if dirty > self.budgets.dirty_bytes_max() / DIRTY_EARLY_CHECKPOINT_DIVISOR
            && !self.asked_early.swap(true, Ordering::AcqRel)
        {
            // If the thread is gone, the storage is shut down and there is nothing left to ask for.
            let _ = self.send(Command::Early);
        }
    }
}

impl GroupState {
    pub(crate) fn new(cell: CellId, covered: Covered, checkpointed: Arc<AtomicU64>) -> Self {
        checkpointed.store(covered.applied.map_or(0, |id| id.index + 1), Ordering::Release);
        let durable = watch::Sender::new(covered.applied);
        let view = RwLock::new(GroupView { covered, ..GroupView::default() });
        Self { cell, view, durable, checkpointed }
    }

    pub(crate) fn durable(&self) -> watch::Receiver<Option<LogId>> {
        self.durable.subscribe()
    }

    /// The checkpoint up to `applied` is committed: from here on the log may be purged up to it.
    pub(super) fn publish_durable(&self, applied: Option<LogId>) {
        self.checkpointed.store(applied.map_or(0, |id| id.index + 1), Ordering::Release);
        self.durable.send_replace(applied);
    }

    /// Applies one committed entry. Makes no check but the chain's, and never reads.
    pub(super) fn apply(&self, entry: &Entry, buffers: Buffers, shared: &StateShared) -> Applied {
        let mut grew = 0;
        let mut rows_applied = 0;
        let applied = {
            let mut view = self.view.write();
            let view = &mut *view;
            view.covered.applied = Some(entry.log_id);
            view.changed = true;
            match &entry.payload {
                EntryPayload::Blank => Applied::Applied,
                EntryPayload::Membership(membership) => {
                    view.covered.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    Applied::Applied
                }
                EntryPayload::Normal(data) => match chain::follow(view.covered.chain, *entry.log_id.leader_id, data) {
                    Ok(chain) => {
                        view.covered.chain = chain;
                        if let Change::Batch(rows) = data.change() {
                            grew = rows.iter().map(|row| view.active.put(row, buffers)).sum();
                            rows_applied = rows.len() as u64;
                        }
                        Applied::Applied
                    }
                    Err(misfit) => Applied::ChainRefused { expected: misfit.expected, got: data.chain() },
                },
            }
        };
        shared.stats.applied.add(1);
        shared.stats.applied_rows.add(rows_applied);
        if matches!(applied, Applied::ChainRefused { .. }) {
            shared.stats.chain_refused.add(1);
        }
        shared.grew(grew);
        applied
    }
}
