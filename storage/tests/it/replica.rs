//! A real openraft replica on the storage: one voter, as a node runs it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::network::RPCOption;
use openraft::{Config, SnapshotPolicy};
use twin_storage::consensus::openraft;
use twin_storage::consensus::{Peer, Raft, ReplicaId, Snapshot, TypeConfig, Vote};
use twin_storage::{Applied, ChainLink, EntryData, Family, Group, Storage};

use crate::world::{CELL, bytes, crash_copy, eventually, fresh, open, put};

/// A sole voter has nobody to talk to.
struct Nobody;

impl openraft::RaftNetworkFactory<TypeConfig> for Nobody {
    type Network = Self;

    async fn new_client(&mut self, _: ReplicaId, _: &Peer) -> Self {
        Self
    }
}

type RpcError = openraft::errors::RPCError<TypeConfig>;

fn unreachable() -> RpcError {
    RpcError::Unreachable(openraft::errors::Unreachable::new(&std::io::Error::other("nobody is there")))
}

impl openraft::RaftNetworkV2<TypeConfig> for Nobody {
    type SnapshotData = twin_storage::SnapshotData;

    async fn append_entries(
        &mut self,
        _: openraft::raft::AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<openraft::raft::AppendEntriesResponse<TypeConfig>, RpcError> {
        Err(unreachable())
    }

    async fn vote(
        &mut self,
        _: openraft::raft::VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<openraft::raft::VoteResponse<TypeConfig>, RpcError> {
        Err(unreachable())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot,
        _: impl Future<Output = openraft::errors::ReplicationClosed> + openraft::OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<openraft::raft::SnapshotResponse<TypeConfig>, openraft::errors::StreamingError<TypeConfig>> {
        Err(openraft::errors::StreamingError::Unreachable(openraft::errors::Unreachable::new(&std::io::Error::other(
            "nobody is there",
        ))))
    }
}

pub(crate) async fn start(
    storage: &Storage,
) -> (Raft, tokio::sync::watch::Receiver<Option<twin_storage::consensus::LogId>>) {
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 100,
        election_timeout_max: 200,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 0,
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("a sound config"));
    let Group { log, state_machine, durable } = storage.group(CELL);
    let raft = Raft::new(1, config, Nobody, log, state_machine).await.expect("a sound storage");
    if !raft.is_initialized().await.expect("running") {
        raft.initialize(BTreeMap::from([(1, Peer::default())])).await.expect("the first start");
    }
    raft.wait(Some(Duration::from_secs(10))).current_leader(1, "a sole voter leads").await.expect("in time");
    (raft, durable)
}

pub(crate) async fn write(raft: &Raft, entry: EntryData) -> Applied {
    raft.client_write(entry).await.expect("the sole voter leads").data
}

fn term(raft: &Raft) -> u64 {
    use openraft::async_runtime::WatchReceiver;
    raft.metrics().borrow_watched().current_term
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_sole_voter_acked_is_there_after_a_crash() {
    let (directory, storage) = fresh();
    let (raft, _) = start(&storage).await;
    let first = term(&raft);
    assert_eq!(write(&raft, EntryData::barrier(ChainLink { term: first, n: 0 })).await, Applied::Applied);
    for n in 1..=50 {
        let rows = vec![put("counter", &n.to_string()), put(&format!("k{n}"), "v")];
        let entry = EntryData::batch(ChainLink { term: first, n }, rows).expect("small");
        assert_eq!(write(&raft, entry).await, Applied::Applied);
        if n == 25 {
            storage.checkpoint().await.expect("the disk works");
        }
    }
    let refused = write(&raft, EntryData::batch(ChainLink { term: first, n: 52 }, vec![]).expect("small")).await;
    let expected = ChainLink { term: first, n: 51 };
    assert_eq!(refused, Applied::ChainRefused { expected, got: ChainLink { term: first, n: 52 } });

    let copy = crash_copy(directory.path());
    let restarted = open(copy.path());
    let (raft_again, _) = start(&restarted).await;
    let second = term(&raft_again);
    assert!(second > first, "a restart is a new term: {second} after {first}");
    assert_eq!(write(&raft_again, EntryData::barrier(ChainLink { term: second, n: 0 })).await, Applied::Applied);
    let reader = restarted.reader();
    assert_eq!(reader.get(CELL, Family::TwinHot, b"counter").expect("readable"), Some(bytes("50")));
    assert_eq!(reader.scan(CELL, Family::TwinHot, b"k", None, 100).expect("readable").rows.len(), 50);
    raft.shutdown().await.expect("it runs");
    raft_again.shutdown().await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_the_checkpoint_lets_the_log_go() {
    let (directory, storage) = fresh();
    let (raft, mut durable) = start(&storage).await;
    let term = term(&raft);
    assert_eq!(write(&raft, EntryData::barrier(ChainLink { term, n: 0 })).await, Applied::Applied);
    for n in 1..=100 {
        let entry = EntryData::batch(ChainLink { term, n }, vec![put("a", &"v".repeat(1000))]).expect("small");
        assert_eq!(write(&raft, entry).await, Applied::Applied);
    }
    let full = storage.budgets().log_bytes();
    assert!(full > 100_000);
    storage.checkpoint().await.expect("the disk works");
    let upto = durable.borrow_and_update().expect("a checkpoint");
    raft.trigger().snapshot().await.expect("running");
    raft.wait(Some(Duration::from_secs(10))).snapshot(upto, "the checkpoint").await.expect("in time");
    raft.wait(Some(Duration::from_secs(10))).purged(Some(upto), "up to it").await.expect("in time");
    eventually("the log lets go", || storage.budgets().log_bytes() <= full / 10).await;
    raft.shutdown().await.expect("it runs");
    tokio::task::spawn_blocking(|| storage.shutdown()).await.expect("no panic").expect("clean");
    let storage = open(directory.path());
    let (raft, _) = start(&storage).await;
    let value = storage.reader().get(CELL, Family::TwinHot, b"a").expect("readable");
    assert_eq!(value.map(|value| value.len()), Some(1000));
    raft.shutdown().await.expect("it runs");
}
