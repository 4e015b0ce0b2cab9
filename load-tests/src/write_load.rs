//! One measured stretch of durable updates in a closed loop: W1, and whoever wants to know what is left of it.

use std::time::Duration;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::fleet::By;
use crate::measure::procfs::written_bytes;
use crate::measure::{CpuUse, CpuWatch, Loaded, closed_loop};
use crate::rest::Metrics;
use crate::stage::Stage;

/// What it measured.
pub(crate) struct Slice {
    loaded: Loaded,
    used: CpuUse,
    /// Bytes that the node gave to the disk, until it was quiet again.
    written_bytes: u64,
    before: Metrics,
    after: Metrics,
}

/// Loads for a while, drains the outboxes and leaves the node some quiet.
pub(crate) fn write_slice(
    bench: &mut Bench,
    stage: &Stage,
    batch: u32,
    by: By,
    lasting: Duration,
) -> anyhow::Result<Slice> {
    let before = stage.rest.metrics()?;
    let pids = [stage.node()?.pid()];
    let written_before = written_bytes(pids[0])?;
    let (mut watch, mut used) = (None, None);
    let mark = || match &watch {
        None => watch = CpuWatch::begin(&pids).ok(),
        Some(watch) => used = watch.end().ok(),
    };
    let runtime = bench.runtime.handle().clone();
    let (loaded, _) = runtime.block_on(closed_loop(
        stage.fleet.reporters(batch, bench.plan.in_flight, by),
        bench.plan.warm_up,
        lasting,
        mark,
    ))?;
    let used = used.context("the node's CPU time")?;
    bench.saw(&used);
    runtime.block_on(stage.fleet.drained())?;
    let after = stage.rest.metrics()?;
    std::thread::sleep(bench.plan.settle);
    let written_bytes = written_bytes(pids[0])?.saturating_sub(written_before);
    Ok(Slice { loaded, used, written_bytes, before, after })
}

impl Slice {
    fn rise(&self, name: &str) -> f64 {
        self.after.sum(name) - self.before.sum(name)
    }

    fn ratio(&self, of: &str, to: &str) -> f64 {
        let to = self.rise(to);
        if to > 0.0 { self.rise(of) / to } else { 0.0 }
    }

    fn us_per_update(&self, seconds: f64) -> f64 {
        if self.loaded.operations > 0 { seconds * 1e6 / self.loaded.operations as f64 } else { 0.0 }
    }

    pub(crate) fn updates_per_s(&self) -> f64 {
        self.loaded.per_s()
    }

    /// CPU of the node, for each update.
    pub(crate) fn node_us(&self) -> f64 {
        self.us_per_update(self.used.pids_s.first().copied().unwrap_or_default())
    }

    /// CPU of this process, for each update: the gateways and the making of load.
    pub(crate) fn gateways_us(&self) -> f64 {
        self.us_per_update(self.used.own_s)
    }

    pub(crate) fn ack_p50_ms(&self) -> f64 {
        self.loaded.latencies.ms(0.5)
    }

    pub(crate) fn ack_p99_ms(&self) -> f64 {
        self.loaded.latencies.ms(0.99)
    }

    /// Rows in a durable round of the node's log; at least 1.
    pub(crate) fn rows_per_round(&self) -> usize {
        (self.ratio("twinmesh_entry_changes_total", "twinmesh_log_rounds_total").round() as usize).max(1)
    }

    /// Bytes that a row takes there; at least 1.
    pub(crate) fn row_bytes(&self) -> usize {
        (self.ratio("twinmesh_log_entry_bytes_total", "twinmesh_entry_changes_total").round() as usize).max(1)
    }

    pub(crate) fn updates_per_batch(&self) -> f64 {
        self.ratio("twinmesh_messages_total", "twinmesh_batches_total")
    }

    /// Bytes of a frame with a batch. (Other frames are rare while there is load.)
    pub(crate) fn frame_bytes(&self) -> f64 {
        self.ratio("twinmesh_frame_bytes_received_total", "twinmesh_batches_total")
    }

    /// Bytes of frames for each update.
    pub(crate) fn bytes_per_update(&self) -> f64 {
        self.ratio("twinmesh_frame_bytes_received_total", "twinmesh_messages_total")
    }

    /// Bytes that the node gave to the disk for each update: log, checkpoints, and what redb keeps about its pages. Those of the warm-up
    /// and of the quiet behind it count, as their updates do.
    pub(crate) fn written_per_update(&self) -> f64 {
        let updates = self.rise("twinmesh_messages_total");
        if updates > 0.0 { self.written_bytes as f64 / updates } else { 0.0 }
    }

    pub(crate) fn checkpoints(&self) -> f64 {
        self.rise("twinmesh_checkpoints_total")
    }
}
