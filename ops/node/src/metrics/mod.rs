//! What `/metrics` shows: documented in METRICS.md, which a test compares with what is really there.

mod audit;
mod batches;
mod collected;
mod plain_text;
mod process;
mod requests;

use std::sync::Arc;

use prometheus_client::registry::Registry;

use crate::audit::{Audit, Watch};
use crate::rest::Strangers;

pub(crate) use batches::{BatchMetrics, ItemCounts};
pub(crate) use collected::{Collected, Sources};
pub(crate) use requests::{RequestMetrics, RouteMetrics};

/// The node's registry.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    pub(crate) requests: RequestMetrics,
    pub(crate) batches: BatchMetrics,
    pub(crate) strangers: Strangers,
}

impl Metrics {
    pub(crate) fn new(sources: Sources, audit: Audit, watch: &Watch) -> Self {
        let mut registry = Registry::default();
        let requests = RequestMetrics::register(&mut registry);
        let batches = BatchMetrics::register(&mut registry);
        let strangers = Strangers::register(&mut registry);
        audit::register(&mut registry, audit, watch);
        registry.register_collector(Box::new(Arc::new(Collected::new(sources))));
        Self { registry, requests, batches, strangers }
    }

    /// All metrics as they are now.
    pub(crate) fn text(&self, format: Format) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Plain => plain_text::from_open_metrics(&text),
        })
    }
}

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Plain,
}
