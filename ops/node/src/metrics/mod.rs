//! What `/metrics` shows: documented in METRICS.md, which a test compares with what is really there.

mod batches;
mod collected;
mod process;
mod requests;

use std::sync::Arc;

use prometheus_client::registry::Registry;

pub(crate) use batches::BatchMetrics;
pub(crate) use collected::{Collected, Sources};
pub(crate) use requests::RequestMetrics;

/// The node's registry.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: RequestMetrics,
    pub(crate) batches: BatchMetrics,
}

impl Metrics {
    pub(crate) fn new(sources: Sources) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::register(&mut registry);
        let batches = BatchMetrics::register(&mut registry);
        registry.register_collector(Box::new(Arc::new(Collected::new(sources))));
        Self { registry, requests, batches }
    }

    /// OpenMetrics text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
