//! The network between replicas. A node on its own has no peers, so there is nobody to reach; the transport between nodes
//! takes this place.

use std::future::Future;

use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use twin_storage::SnapshotData;
use twin_storage::consensus::{Peer, ReplicaId, Snapshot, TypeConfig, Vote};

/// Makes links to peers that do not exist.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NoPeers;

/// A link to a peer that does not exist.
#[derive(Debug)]
pub(crate) struct NoPeer {
    target: ReplicaId,
}

impl NoPeer {
    fn unreachable(&self) -> Unreachable<TypeConfig> {
        let error = std::io::Error::new(
            std::io::ErrorKind::NotConnected,
            format!("replica {} cannot be reached: this node has no peers", self.target),
        );
        Unreachable::new(&error)
    }
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = NoPeer;

    async fn new_client(&mut self, target: ReplicaId, _: &Peer) -> NoPeer {
        NoPeer { target }
    }
}

impl RaftNetworkV2<TypeConfig> for NoPeer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _: AppendEntriesRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    // The trait's default grants without asking anybody.
    async fn pre_vote(
        &mut self,
        _: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(self.unreachable().into())
    }

    async fn full_snapshot(
        &mut self,
        _: Vote,
        _: Snapshot,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(self.unreachable().into())
    }
}
