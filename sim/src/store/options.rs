//! What a simulated store is made of.

use std::path::PathBuf;
use std::sync::Arc;

use twin_core::clock::Clock;
use twin_gateway::{Credentials, TraceBatch};

/// What a simulated store is made of. Sites, gateways and their credentials are the caller's to prepare.
#[derive(Clone)]
pub struct StoreOptions {
    /// The node, as `host:port`.
    pub node: String,
    /// One gateway each; all of one site. The outboxes lie in a folder each, named after the gateway.
    pub gateways: Vec<Credentials>,
    /// Devices, spread evenly over the gateways.
    pub devices: usize,
    /// Reports per second of the whole store, events and answers to desired changes not counted.
    pub reports_per_s: f64,
    /// Where the outboxes lie.
    pub state_dir: PathBuf,
    /// Cap of each outbox.
    pub outbox_bytes_max: u64,
    /// All chance in the devices comes from it.
    pub seed: u64,
    /// Traces batches; see [`crate::traces`].
    pub trace_batch: Option<TraceBatch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}
