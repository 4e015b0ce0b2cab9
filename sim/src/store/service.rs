//! The store, running.

use std::sync::Arc;

use tokio::task::JoinSet;
use twin_core::ids::{GatewayName, TwinId};
use twin_gateway::{Gateway, OpenError, Options, ReportError};

use super::device::Kind;
use super::gateway::SimulatedGateway;
use super::layout::{Placed, layout};
use super::options::StoreOptions;
use super::stats::{Counts, Latencies, StoreView};

/// Why a store does not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No gateway.
    #[error("a store needs a gateway; give the credentials of one")]
    NoGateway,
    /// An outbox.
    #[error("gateway {gateway}: {source}")]
    Open {
        /// Whose.
        gateway: GatewayName,
        /// What happened.
        source: OpenError,
    },
    /// A device.
    #[error("gateway {gateway} does not take its devices: {source}")]
    Attach {
        /// Which gateway.
        gateway: GatewayName,
        /// What happened.
        source: ReportError,
    },
}

/// A running store. Dropped, it ends as if the power went: what is in the outboxes goes with the next start.
pub struct Store {
    gateways: Vec<Arc<SimulatedGateway>>,
    placed: Vec<Placed>,
    counts: Arc<Counts>,
    running: JoinSet<()>,
}

impl Store {
    /// Opens the gateways and lets their devices live. Call it within a tokio runtime. Works without the node, too.
    pub fn start(options: StoreOptions) -> Result<Self, StoreError> {
        if options.gateways.is_empty() {
            return Err(StoreError::NoGateway);
        }
        let counts = Arc::new(Counts::default());
        let count = options.gateways.len();
        let placed = layout(options.devices, count);
        let mut gateways = Vec::with_capacity(count);
        let mut running = JoinSet::new();
        for (index, credentials) in options.gateways.into_iter().enumerate() {
            let name = credentials.name.clone();
            let mut gateway_options =
                Options::new(options.node.clone(), credentials, options.state_dir.join(name.as_str()));
            gateway_options.agent = format!("twin-sim/{}", env!("CARGO_PKG_VERSION"));
            gateway_options.outbox_bytes_max = options.outbox_bytes_max;
            gateway_options.trace_batch.clone_from(&options.trace_batch);
            gateway_options.clock = Arc::clone(&options.clock);
            let gateway =
                Gateway::open(gateway_options).map_err(|source| StoreError::Open { gateway: name.clone(), source })?;
            let simulated = SimulatedGateway::new(
                gateway,
                placed.iter().filter(|placed| placed.gateway == index).cloned(),
                options.reports_per_s / count as f64,
                options.seed.wrapping_add(index as u64),
                Arc::clone(&counts),
                Arc::clone(&options.clock),
            );
            let simulated = Arc::new(simulated.map_err(|source| StoreError::Attach { gateway: name, source })?);
            running.spawn(Arc::clone(&simulated).run());
            gateways.push(simulated);
        }
        Ok(Self { gateways, placed, counts, running })
    }

    /// The devices of a kind.
    pub fn devices(&self, kind: Kind) -> impl Iterator<Item = &TwinId> {
        self.placed.iter().filter(move |placed| placed.kind == kind).map(|placed| &placed.id)
    }

    /// What happened so far.
    pub fn view(&self) -> StoreView {
        let mut view = self.counts.view();
        view.gateways = self.gateways.len() as u64;
        view.devices = self.placed.len() as u64;
        for gateway in &self.gateways {
            let status = gateway.gateway().status();
            view.connected += u64::from(status.connected);
            view.attached += status.attached;
            view.appended += status.counters.appended;
            view.acked += status.counters.acked;
            view.backlog_messages += status.backlog_messages;
            view.backlog_bytes += status.backlog_bytes;
            view.dead_letters += status.dead_letters;
        }
        view
    }

    /// How long acks took since the start.
    pub fn latencies(&self) -> Latencies {
        self.counts.latencies()
    }

    /// How long acks took since this was called last.
    pub fn latencies_lately(&self) -> Latencies {
        self.counts.latencies_lately()
    }

    /// Stops the devices, lets the outboxes drain (as long as the SDK waits), closes the gateways. `true`: nothing is left.
    pub async fn shutdown(&mut self) -> bool {
        self.running.shutdown().await;
        let mut closing = JoinSet::new();
        for simulated in &self.gateways {
            let gateway = simulated.gateway().clone();
            closing.spawn(async move { gateway.shutdown().await });
        }
        closing.join_all().await.into_iter().all(|drained| drained)
    }
}
