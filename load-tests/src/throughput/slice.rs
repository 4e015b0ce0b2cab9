//! One stretch of load, and the baselines right after it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::disk::{AppendRate, RawAppends, sync_times};
use crate::node_process::NodeProcess;
use crate::procfs;
use crate::rest::{Metrics, Rest};
use crate::throughput::fleet::{Fleet, Latencies};

/// Load before the clock starts.
const WARM_UP: Duration = Duration::from_millis(700);
/// Quiet before the baselines: the node writes a checkpoint of what it was given.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long the baselines of a slice take, each.
const BASELINE: Duration = Duration::from_millis(1500);
/// How often a stretch of load is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// What one slice measured.
pub(crate) struct Slice {
    pub(crate) updates_per_s: f64,
    pub(crate) ack: Latencies,
    pub(crate) promise: Latencies,
    /// CPU time an update took in the node.
    pub(crate) node_us: f64,
    /// CPU time an update took in this process: ten gateways and the making of documents.
    pub(crate) gateways_us: f64,
    /// Share of the machine that somebody else used.
    pub(crate) others_share: f64,
    /// Rows in a durable round of the node's log.
    pub(crate) rows_per_round: f64,
    pub(crate) rows_per_entry: f64,
    /// Bytes that a row takes there.
    pub(crate) row_bytes: f64,
    pub(crate) round_ms: f64,
    /// Updates in a batch that a gateway sends.
    pub(crate) updates_per_batch: f64,
    pub(crate) raw: AppendRate,
    pub(crate) sync_us: (f64, f64),
}

struct Moment {
    at: Instant,
    acked: u64,
    node_s: f64,
    gateways_s: f64,
    machine_s: f64,
    metrics: Metrics,
}

impl Moment {
    async fn take(fleet: &Fleet, node: &NodeProcess, rest: &Rest) -> anyhow::Result<Self> {
        let rest = rest.clone();
        let metrics = tokio::task::spawn_blocking(move || rest.metrics()).await??;
        Ok(Self {
            metrics,
            at: Instant::now(),
            acked: fleet.acked(),
            node_s: procfs::cpu_s(node.pid())?,
            gateways_s: procfs::cpu_s(std::process::id())?,
            machine_s: procfs::machine_busy_s()?,
        })
    }
}

/// Loads for a while, then measures the baselines with the shape of the rounds that the node just made.
pub(crate) async fn measure(
    fleet: &mut Fleet,
    node: &NodeProcess,
    rest: &Rest,
    lasting: Duration,
    baselines: &mut RawAppends,
    dir: &Path,
    mut tick: impl FnMut(u64),
) -> anyhow::Result<Slice> {
    fleet.load(true);
    tokio::time::sleep(WARM_UP).await;
    fleet.take_latencies()?;
    let before = Moment::take(fleet, node, rest).await?;
    while before.at.elapsed() < lasting {
        tokio::time::sleep(LOOK_INTERVAL).await;
        fleet.check()?;
        tick(fleet.acked());
    }
    let after = Moment::take(fleet, node, rest).await?;
    let (ack, promise) = fleet.take_latencies()?;
    fleet.load(false);
    fleet.drained().await?;
    tokio::time::sleep(SETTLE).await;

    let updates = (after.acked - before.acked) as f64;
    let seconds = (after.at - before.at).as_secs_f64();
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let (node_s, gateways_s) = (after.node_s - before.node_s, after.gateways_s - before.gateways_s);
    let others_s = (after.machine_s - before.machine_s - node_s - gateways_s).max(0.0);
    let rise = |name: &str| after.metrics.sum(name) - before.metrics.sum(name);
    let rounds = rise("twinmesh_log_rounds_total");
    let rows = rise("twinmesh_entry_changes_total");
    let ratio = |a: f64, b: f64| if b > 0.0 { a / b } else { 0.0 };
    let rows_per_round = ratio(rows, rounds);
    let row_bytes = ratio(rise("twinmesh_log_entry_bytes_total"), rows);

    // The runtime's threads have nothing else to do now.
    let raw = baselines.run(rows_per_round.round().max(1.0) as usize, row_bytes.round().max(1.0) as usize, BASELINE)?;
    let syncs = sync_times(&dir.join("sync"), BASELINE)?;
    let at = |share: f64| syncs.get((syncs.len() as f64 * share) as usize).map(|time| time.as_secs_f64() * 1e6);
    let sync_us = (at(0.5).context("no sync was timed")?, at(0.99).context("no sync was timed")?);
    Ok(Slice {
        updates_per_s: updates / seconds,
        ack,
        promise,
        node_us: ratio(node_s * 1e6, updates),
        gateways_us: ratio(gateways_s * 1e6, updates),
        others_share: others_s / (seconds * cores),
        rows_per_round,
        rows_per_entry: ratio(rows, rise("twinmesh_entries_total")),
        row_bytes,
        round_ms: ratio(
            rise("twinmesh_log_round_duration_seconds_sum") * 1e3,
            rise("twinmesh_log_round_duration_seconds_count"),
        ),
        updates_per_batch: ratio(rise("twinmesh_messages_total"), rise("twinmesh_batches_total")),
        raw,
        sync_us,
    })
}
