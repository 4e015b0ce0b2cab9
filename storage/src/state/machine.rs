//! What openraft sees of a group's state.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::oneshot;

use super::checkpoint::Command;
use super::dirty::Buffers;
use super::group::{GroupState, StateShared};
use super::snapshot::{SnapshotData, meta_of};
use crate::consensus::{LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// The state of one group. Handed to openraft; one at a time per group.
pub struct StateMachine {
    group: Arc<GroupState>,
    shared: Arc<StateShared>,
    /// What the last snapshot that openraft heard of covers.
    last_snapshot: Option<LogId>,
}

impl fmt::Debug for StateMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateMachine").field("cell", &self.group.cell).finish_non_exhaustive()
    }
}

impl StateMachine {
    pub(crate) fn new(group: Arc<GroupState>, shared: Arc<StateShared>) -> Self {
        Self { group, shared, last_snapshot: None }
    }

    async fn checkpoint(&self) -> io::Result<()> {
        let (reply, done) = oneshot::channel();
        self.shared.send(Command::Now { reply })?;
        Ok(done.await.map_err(|_| io::Error::other("the storage is shut down"))??)
    }

    /// The group as of the last durable checkpoint. Cheap: rows are read when the snapshot is sent.
    fn durable_snapshot(&self) -> io::Result<Option<Snapshot>> {
        let base = {
            // Under the group's lock, like every use of the base.
            let _view = self.group.view.read();
            Arc::clone(&self.shared.base.read())
        };
        let covered = base.covered(self.group.cell.get()).map_err(io::Error::other)?;
        if covered.applied.is_none() {
            return Ok(None);
        }
        let meta = meta_of(&covered);
        Ok(Some(Snapshot { meta, snapshot: SnapshotData::of_base(self.group.cell, base, covered) }))
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = SnapshotBuilder;

    /// After a start, that of the durable checkpoint; openraft re-applies what the log has behind it.
    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let view = self.group.view.read();
        Ok((view.covered.applied, view.covered.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            self.shared.failure.check()?;
            // Whoever proposed an entry waits for it, and its rows are the grains'. Others are read back from the log.
            let buffers = if responder.is_some() { Buffers::OfRows } else { Buffers::OfEntry };
            let applied = self.group.apply(&entry, buffers, &self.shared);
            if let Some(responder) = responder {
                responder.send(applied);
            }
        }
        Ok(())
    }

    /// Without `force`, what the last checkpoint holds is good enough, and nothing new is a reason to
    /// wait. With `force`, a checkpoint is made first unless the last one is current.
    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<SnapshotBuilder> {
        let durable = *self.group.durable.borrow();
        let applied = self.group.view.read().covered.applied;
        let made = if force && durable != applied {
            self.checkpoint().await
        } else if !force && durable <= self.last_snapshot {
            return None;
        } else {
            Ok(())
        };
        let snapshot = made.and_then(|()| self.durable_snapshot());
        if let Ok(Some(snapshot)) = &snapshot {
            self.last_snapshot = snapshot.meta.last_log_id;
        }
        let snapshot = snapshot.map(|snapshot| {
            snapshot.unwrap_or_else(|| Snapshot {
                meta: SnapshotMeta::default(),
                snapshot: SnapshotData::empty(self.group.cell),
            })
        });
        Some(SnapshotBuilder { snapshot: Some(snapshot) })
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        self.try_create_snapshot_builder(true).await.unwrap_or(SnapshotBuilder { snapshot: None })
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let (reply, done) = oneshot::channel();
        let group = Arc::clone(&self.group);
        self.shared.send(Command::Install {
            group,
            meta: Box::new(meta.clone()),
            snapshot: Box::new(snapshot),
            reply,
        })?;
        done.await.map_err(|_| io::Error::other("the storage is shut down"))??;
        self.last_snapshot = meta.last_log_id;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.durable_snapshot()
    }
}

/// Hands out the snapshot that was chosen when the builder was made.
pub struct SnapshotBuilder {
    snapshot: Option<io::Result<Snapshot>>,
}

impl fmt::Debug for SnapshotBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotBuilder").finish_non_exhaustive()
    }
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        self.snapshot.take().unwrap_or_else(|| Err(io::Error::other("a snapshot builder is used once")))
    }
}
