//! The admin REST. One file per resource; what they share:
//!
//! - [`routes`] is the table of routes, each with the scope that it needs; [`dispatch`] finds a request's; [`strangers`], [`auth`],
//!   [`guard`] and [`request_log`] stand before it;
//! - [`segments`], [`query`], [`body`] and [`conditional`] read a request, each refusing what it does not understand;
//! - [`steer`] carries out changes of a twin, [`once`] those that have an idempotency key, [`wait`] those whose caller waits for the device;
//! - [`document`] and [`ops_json`] write twins and changes, [`problem`] every error;
//! - [`openapi`] describes it all, [`section_schema`] what a section may hold;
//! - [`server`] runs it all on threads of its own, and before that [`starting`], which answers while the node starts.

mod alarms;
mod audit;
mod auth;
mod backup;
mod batch;
mod body;
mod certificates;
mod conditional;
mod delta;
mod devices;
mod dispatch;
mod document;
mod entered;
mod events;
mod events_filter;
mod exports;
mod gateways;
mod guard;
mod health;
mod methods;
mod metrics;
mod nodes;
mod once;
pub(crate) mod openapi;
mod ops_json;
mod problem;
mod query;
mod request_log;
mod routes;
mod section_schema;
mod sections;
mod segments;
mod server;
mod sites;
mod starting;
mod steer;
mod strangers;
mod tokens;
mod twins;
mod wait;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use twin_cluster::Cluster;
use twin_core::clock::Clock;
use twin_storage::Budgets;
use twin_transports::tls::NodeCertificates;

use crate::audit::{Audit, Watch};
use crate::metrics::Metrics;

pub(crate) use backup::Backups;
pub(crate) use batch::Pace;

pub(crate) use server::{RestServer, Serves};
pub(crate) use starting::answering;
pub(crate) use strangers::Strangers;

/// What the handlers work on.
pub(crate) struct Rest {
    pub(crate) cluster: Cluster,
    /// What the storage owes the disk, and has of it.
    pub(crate) budgets: Arc<Budgets>,
    /// Who changed what.
    pub(crate) audit: Audit,
    /// Who was turned away.
    pub(crate) watch: Watch,
    /// What this node shows of itself, and new gateways' credentials carry.
    pub(crate) certificates: Arc<NodeCertificates>,
    /// Where this REST listens.
    pub(crate) http_url: String,
    /// Where gateways connect.
    pub(crate) quic_addr: String,
    /// Bounds the open event streams.
    pub(crate) observers: Arc<Semaphore>,
    /// Bounds the batches under way.
    pub(crate) batches: Arc<Semaphore>,
    /// Bounds the exports under way.
    pub(crate) exports: Arc<Semaphore>,
    /// Bounds what all batches together have under way.
    pub(crate) pace: Arc<Pace>,
    pub(crate) backups: Backups,
    /// The node's own threads, for work that must not be done on the REST's.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    /// The node is stopping: event streams and batches end.
    pub(crate) closing: CancellationToken,
}
