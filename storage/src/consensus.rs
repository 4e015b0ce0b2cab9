//! Our side of openraft: the one place that names its types.
//!
//! `leader_id_std` (one leader a term) is part of the chain rule's argument: the term in a log id then
//! names the leader that proposed it.

use std::fmt;

use openraft::type_config::alias;
use serde::{Deserialize, Serialize};

use crate::entry::{Applied, EntryData};
use crate::state::{SnapshotData, StateMachine};

pub use openraft;

/// A replica of a group. A fresh one for each join of a group, never the node's id: a wiped node that
/// returned with an old id could elect itself alone.
pub type ReplicaId = u64;

/// A node: one process, for the life of its data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(u64);

impl NodeId {
    /// Wraps a raw number.
    pub const fn new(raw: u64) -> Self {
        Self(raw)
    }

    /// The raw number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a replica lives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The node that holds the replica.
    pub node: NodeId,
    /// Its address for other nodes, `host:port`. Empty for a node without peers.
    pub address: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {} at {}", self.node, self.address)
    }
}

openraft::declare_raft_types!(
    /// The types of all our groups.
    pub TypeConfig:
        D = EntryData,
        R = Applied,
        NodeId = ReplicaId,
        Node = Peer,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// A running replica of a group.
pub type Raft = openraft::Raft<TypeConfig, StateMachine>;
/// Term and index of an entry.
pub type LogId = alias::LogIdOf<TypeConfig>;
/// A vote: term, replica, and whether a quorum granted it.
pub type Vote = alias::VoteOf<TypeConfig>;
/// A candidate or leader: term and replica.
pub type LeaderId = alias::LeaderIdOf<TypeConfig>;
/// The leader's part of a [`LogId`]: its term.
pub type CommittedLeaderId = alias::CommittedLeaderIdOf<TypeConfig>;
/// One entry of a group's log.
pub type Entry = alias::EntryOf<TypeConfig>;
/// What an entry carries: nothing, our data or a membership.
pub type EntryPayload = openraft::EntryPayload<EntryData, ReplicaId, Peer>;
/// A membership and the entry that brought it.
pub type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
/// The replicas of a group.
pub type Membership = openraft::Membership<ReplicaId, Peer>;
/// What a snapshot covers.
pub type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what it covers, and its rows.
pub type Snapshot = alias::SnapshotOf<TypeConfig, SnapshotData>;
/// What a running replica says of itself.
pub type RaftMetrics = openraft::RaftMetrics<TypeConfig>;
