//! A node with registered twins and a fleet of gateways on it: what most scenarios begin with.

use std::sync::Arc;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::{Fleet, FleetOptions, credentials};
use crate::node_process::{NodeProcess, NodeSpec};
use crate::plan::GATEWAYS;
use crate::rest::Rest;

/// The site of all load.
pub(crate) const SITE: &str = "load";

/// A node that runs, and gateways that are connected to it.
pub(crate) struct Stage {
    pub(crate) spec: NodeSpec,
    pub(crate) rest: Rest,
    pub(crate) fleet: Fleet,
    node: Option<NodeProcess>,
}

impl Stage {
    /// Ten gateways, each with `hot` attached devices, on a node with `cold` more registered twins. Stages with as many cold twins
    /// share a data directory, one after the other.
    pub(crate) fn set(bench: &mut Bench, cold: u64, hot: u32, documents: &Arc<Documents>) -> anyhow::Result<Self> {
        Self::with(bench, cold, GATEWAYS, hot, documents)
    }

    /// As [`Stage::set`], with any number of gateways.
    pub(crate) fn with(
        bench: &mut Bench,
        cold: u64,
        gateways: u32,
        hot: u32,
        documents: &Arc<Documents>,
    ) -> anyhow::Result<Self> {
        let spec = bench.seeded(SITE, cold, documents)?;
        Self::on(bench, spec, gateways, hot, documents)
    }

    /// As [`Stage::with`], on this node, which does not run.
    pub(crate) fn on(
        bench: &mut Bench,
        mut spec: NodeSpec,
        gateways: u32,
        hot: u32,
        documents: &Arc<Documents>,
    ) -> anyhow::Result<Self> {
        let node = spec.start()?;
        let rest = spec.rest()?;
        let dir = bench.directory("stage")?;
        // New names on a node that had a fleet before: an attachment belongs to the outbox that made it.
        let prefix = dir.file_name().context("no name")?.to_string_lossy().into_owned();
        let credentials = credentials(&rest, SITE, &prefix, &dir, gateways)?;
        let node_addr = spec.quic.to_string();
        let options = FleetOptions { node: node_addr, credentials, dir, prefix, devices: hot };
        let runtime = bench.runtime.handle().clone();
        let fleet = {
            let _runtime = runtime.enter();
            Fleet::open(options, documents)?
        };
        if hot > 0 {
            bench.doing(format!("attaching {} twins", u64::from(hot) * u64::from(gateways)));
        }
        runtime.block_on(fleet.attach())?;
        runtime.block_on(fleet.connected())?;
        Ok(Self { spec, rest, fleet, node: Some(node) })
    }

    /// The node's process.
    pub(crate) fn node(&self) -> anyhow::Result<&NodeProcess> {
        self.node.as_ref().context("the node does not run")
    }

    /// kill -9, and starts again; the gateways find it by themselves.
    pub(crate) fn kill_and_start(&mut self) -> anyhow::Result<&NodeProcess> {
        if let Some(node) = self.node.take() {
            node.kill()?;
        }
        self.node = Some(self.spec.start()?);
        self.node()
    }

    /// Checks that nothing was refused, then stops everything.
    pub(crate) fn end(mut self, bench: &Bench) -> anyhow::Result<()> {
        self.fleet.check()?;
        bench.runtime.block_on(self.fleet.shutdown());
        match self.node.take() {
            Some(node) => node.stop(),
            None => Ok(()),
        }
    }
}
