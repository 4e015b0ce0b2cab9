//! The admin REST. One file per resource; what they share:
//!
//! - [`routes`] is the table of routes, [`auth`] and [`request_log`] stand before it;
//! - [`segments`], [`query`], [`body`] and [`conditional`] read a request, each refusing what it does not understand;
//! - [`document`] and [`ops_json`] write twins and changes, [`problem`] every error;
//! - [`openapi`] describes it all, [`section_schema`] what a section may hold;
//! - [`server`] runs it all on threads of its own.

mod auth;
mod backup;
mod batch;
mod body;
mod conditional;
mod delta;
mod document;
mod events;
mod gateways;
mod health;
mod methods;
mod metrics;
mod nodes;
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
mod twins;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use twin_cluster::Cluster;
use twin_core::clock::Clock;

use crate::metrics::Metrics;
use crate::token::AdminToken;

pub(crate) use backup::Backups;
pub(crate) use batch::Pace;

pub(crate) use server::RestServer;

/// What the handlers work on.
pub(crate) struct Rest {
    pub(crate) cluster: Cluster,
    pub(crate) token: AdminToken,
    /// For new gateways' credentials.
    pub(crate) ca_pem: String,
    /// For new gateways' credentials.
    pub(crate) server_name: String,
    /// Where this REST listens.
    pub(crate) http_url: String,
    /// Where gateways connect.
    pub(crate) quic_addr: String,
    /// Bounds the open event streams.
    pub(crate) observers: Arc<Semaphore>,
    /// Bounds the batches under way.
    pub(crate) batches: Arc<Semaphore>,
    /// Bounds what all of them together have under way.
    pub(crate) pace: Arc<Pace>,
    pub(crate) backups: Backups,
    /// The node's own threads, for work that must not be done on the REST's.
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Arc<dyn Clock>,
    /// The node is stopping: event streams and batches end.
    pub(crate) closing: CancellationToken,
}
