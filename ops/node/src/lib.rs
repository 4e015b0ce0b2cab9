//! A node put together: storage, cells, the QUIC endpoint and the admin REST.
//!
//! [`NodeOptions`] -> [`Node::start`] -> [`Node`]. [`telemetry`] sets up logs and traces, once per process; [`token`] hands
//! over the first admin token, [`identity`] says who a data directory is, [`restore`] makes one of a backup; `rest` is the REST and
//! `metrics` what it shows under `/metrics`.

mod audit;
mod error;
pub mod identity;
pub mod limits;
mod metrics;
mod node;
mod options;
mod reload;
mod rest;
pub mod restore;
pub mod telemetry;
pub mod token;

pub use error::NodeError;
pub use node::Node;
pub use options::NodeOptions;
pub use reload::ReloadError;
pub use twin_storage::StateKey;
pub use twin_transports::swap::CertificateFiles;

/// What `/openapi.json` serves, for tools that want it without a node.
pub fn openapi_json() -> String {
    serde_json::to_string(&rest::openapi::description()).unwrap_or_default()
}
