//! The cluster: what turns storage and transport into a twin service.
//!
//! Two kinds of Raft group run on a node: the [`directory`] (group 0: nodes, cells, sites) and [cells](cell) (the twins of
//! some sites). Each group has a [`committer`], which alone proposes to it, under the [chain rule](chain). A cell's leader
//! hosts the [grains]. [`Cluster`] is the handle to all of it, for REST and for gateway sessions.

mod activator;
pub mod admission;
mod backend;
pub mod call;
pub mod cell;
pub mod chain;
mod cluster;
mod committed_read;
pub mod committer;
pub mod devices;
pub mod directory;
pub mod event_ring;
mod export;
pub mod followers;
pub mod gates;
pub mod gateways;
pub mod grains;
mod group;
mod keys;
pub mod lead;
pub mod limits;
mod listing;
mod loader;
pub mod methods;
mod network;
pub mod observers;
pub mod recovery;
pub mod rows;
pub mod security;
pub mod sessions;
mod site_removal;
mod sites;
pub mod slots;
mod stall;
pub mod stats;
mod summary;
mod ticks;
pub mod tokens;
mod tokens_read;
pub mod view;

use twin_core::numbers::CellId;

pub use call::MethodCall;
pub use cluster::{Cluster, ClusterOptions, StartError};
pub use committer::PlantedBug;
pub use export::{ExportPage, ExportPlace, ExportQuery};
pub use gateways::NewKey;
pub use site_removal::SiteRemoval;
pub use summary::{GatewaysSummary, RSSI_STEPS_DBM};
pub use view::{
    ClusterStats, ConflictPolicy, Enrolment, GatewayStatus, GatewayView, GroupView, KeyedAnswer, MethodAnswer,
    NewGateway, NodeView, SiteChange, SiteMade, SiteView, TwinPage, TwinQuery,
};

/// The directory's group.
pub const DIRECTORY: CellId = CellId::new(0);
/// The cell that a new cluster begins with; it also holds the home slots.
pub const FIRST_CELL: CellId = CellId::new(1);
