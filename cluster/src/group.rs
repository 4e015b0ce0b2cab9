//! One Raft group on this node: its replica, its committer, and keeping its log short.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::Config;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::AppendEntriesRequest;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use twin_core::numbers::CellId;
use twin_storage::consensus::{LogId, Peer, Raft, ReplicaId, Vote};
use twin_storage::{Budgets, Group as GroupFiles};

use crate::StartError;
use crate::committer::{Committer, PlantedBug};
use crate::lead::Host;
use crate::limits::LOG_PURGE_ENTRIES;
use crate::network::NoPeers;
use crate::stats::Counters;
use crate::ticks::tick_while_the_core_hears;
use crate::view::GroupView;

/// The replica that founds a group. Replicas that join later get fresh numbers from the directory.
const FOUNDING_REPLICA: ReplicaId = 1;

/// A running group.
pub(crate) struct Group {
    raft: Raft,
    id: CellId,
    name: String,
    committer: JoinHandle<()>,
    log_keeper: JoinHandle<()>,
    ticks: JoinHandle<()>,
    stop: CancellationToken,
}

impl Group {
    /// Starts the replica (founding the group if the storage holds none yet) and its committer.
    pub(crate) async fn start<H: Host>(
        files: GroupFiles,
        budgets: Arc<Budgets>,
        id: CellId,
        name: String,
        host: Arc<H>,
        counters: Arc<Counters>,
        planted: Option<PlantedBug>,
    ) -> Result<Self, StartError> {
        let config = Config {
            cluster_name: name.clone(),
            heartbeat_interval: 500,
            election_timeout_min: 2500,
            election_timeout_max: 5000,
            // Snapshots are our durable checkpoints; the log keeper asks for them.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
            // The committer has a handful of writes in flight, so far shorter queues than the defaults of 65,536 are bound
            // enough. It did not change the memory of an idle node.
            api_channel_size: Some(256),
            api_batch_capacity: 64,
            notification_channel_size: Some(1024),
            state_machine_channel_size: Some(256),
            enable_leader_restore: Some(false),
            enable_pre_vote: Some(true),
            ..Config::default()
        };
        let config = Arc::new(config.validate().map_err(|error| StartError::group(&name, error))?);
        let log = files.log.clone();
        let raft = Raft::new(FOUNDING_REPLICA, config, NoPeers, files.log, files.state_machine)
            .await
            .map_err(|error| StartError::group(&name, error))?;
        let stop = CancellationToken::new();
        // It may wait from the first vote on.
        let ticks = tokio::spawn(tick_while_the_core_hears(raft.clone(), log, stop.clone()));
        if !raft.is_initialized().await.map_err(|error| StartError::group(&name, error))? {
            let members = BTreeMap::from([(FOUNDING_REPLICA, Peer::default())]);
            raft.initialize(members).await.map_err(|error| StartError::group(&name, error))?;
        }
        // Alone there is nobody to wait for.
        raft.trigger().elect(false).await.map_err(|error| StartError::group(&name, error))?;
        let committer = Committer::start(raft.clone(), host, Arc::clone(&budgets), counters, planted, stop.clone());
        let log_keeper = tokio::spawn(keep_log_short(raft.clone(), files.durable, budgets, stop.clone()));
        Ok(Self { raft, id, name, committer, log_keeper, ticks, stop })
    }

    /// The replica.
    pub(crate) fn raft(&self) -> Raft {
        self.raft.clone()
    }

    /// See [`crate::Cluster::usurp`].
    pub(crate) async fn usurp(raft: &Raft) {
        let term = raft.metrics().borrow_watched().current_term;
        let heartbeat = AppendEntriesRequest {
            vote: Vote::new_committed(term + 1, FOUNDING_REPLICA + 1),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: None,
        };
        // Both fail only when the group is stopping.
        let _ = raft.append_entries(heartbeat).await;
        let _ = raft.trigger().elect(false).await;
    }

    /// What it looks like now.
    pub(crate) fn view(&self, leads: bool) -> GroupView {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        GroupView {
            group: self.id.get(),
            name: self.name.clone(),
            leader: leads,
            term: metrics.current_term,
            last_log: metrics.last_log_index.unwrap_or_default(),
            applied: metrics.last_applied.as_ref().map_or(0, |log_id| log_id.index),
        }
    }

    /// Lets entries in flight finish, then stops the replica.
    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        for (what, task) in [("committer", self.committer), ("log keeper", self.log_keeper), ("ticks", self.ticks)] {
            if let Err(error) = task.await {
                tracing::error!(group = %self.name, what, %error, "a task ended badly");
            }
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::error!(group = %self.name, %error, "the replica ended badly");
        }
    }
}

/// Lets go of log entries that the durable checkpoint covers.
///
/// **Invariant:** the log is never purged past the durable checkpoint of the state, as the state in memory beyond it is
/// rebuilt from the log alone. openraft purges up to its snapshot only, and our snapshots are that checkpoint.
async fn keep_log_short(
    raft: Raft,
    mut durable: tokio::sync::watch::Receiver<Option<LogId>>,
    budgets: Arc<Budgets>,
    stop: CancellationToken,
) {
    // The first checkpoint of a life covers what the life before it left: nobody needs that any more, and its pages leave the cache.
    let mut purged: Option<u64> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            changed = durable.changed() => if changed.is_err() { return },
        }
        let Some(index) = durable.borrow_and_update().as_ref().map(|log_id| log_id.index) else { continue };
        if purged.is_some_and(|purged| index < purged + LOG_PURGE_ENTRIES) && !budgets.should_purge() {
            continue;
        }
        match raft.trigger().snapshot().await {
            Ok(()) => purged = Some(index),
            Err(fatal) => {
                tracing::error!(error = %fatal, "the log is no longer purged: the group has stopped");
                return;
            }
        }
    }
}
