//! Reports uniformly random over all registered twins: nothing is hot, so that each of them activates a grain from the disk, and each
//! row of a checkpoint lies in another page of the file.
//!
//! Every stretch of it is followed by redb alone, on the very same file (the node has stopped), writing as random hot rows in commits of
//! as many as the node's checkpoints had.

use std::sync::Arc;

use anyhow::Context as _;

use super::put_peaks;
use crate::baselines::redb_flush;
use crate::bench::Bench;
use crate::document::Documents;
use crate::measure::{CpuWatch, Peaks, Sampler, closed_loop};
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::BATCH;
use crate::rest::Metrics;
use crate::seeded::{SeededTwins, reporters};
use crate::stage::SITE;

/// What it must reach of redb alone.
const OF_REDB_MIN: f64 = 0.9;

/// Rows of a commit of redb alone, at least and at most: a node that is slower than the disk has small checkpoints, and small commits
/// would make the baseline slow as well.
const COMMIT_ROWS: std::ops::RangeInclusive<usize> = 50_000..=200_000;

/// What the repeats found.
#[derive(Default)]
struct Found {
    updates: Vec<f64>,
    flushed: Vec<f64>,
    node_us: Vec<f64>,
    activations: Vec<f64>,
    rows_per_checkpoint: Vec<f64>,
    checkpoint_ms: Vec<f64>,
    ack_p99_ms: Vec<f64>,
    peaks: Peaks,
}

pub(super) fn run(bench: &mut Bench, documents: &Arc<Documents>) -> anyhow::Result<()> {
    let registered = bench.plan.registered_large.last().copied().unwrap_or_default();
    let mut found = Found::default();
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("random updates over {registered} twins, repeat {}", repeat + 1));
        let rows = updates(bench, registered, documents, &mut found)?;
        bench.doing(format!("redb alone over {registered} twins, repeat {}", repeat + 1));
        let (spec, twins) = bench.seeded_twins(SITE, registered, documents)?;
        let commit_rows = rows.clamp(*COMMIT_ROWS.start(), *COMMIT_ROWS.end()).min(registered as usize);
        let file = spec.data_dir.join("state.redb");
        let next = || twins.next_hot_rows(commit_rows);
        found.flushed.push(redb_flush(&file, SeededTwins::hot_table(), bench.plan.slice, next)?);
    }
    let file_bytes = {
        let (spec, _) = bench.seeded_twins(SITE, registered, documents)?;
        std::fs::metadata(spec.data_dir.join("state.redb")).context("the node's state file")?.len()
    };
    put_peaks(bench, &format!("random over {registered}"), found.peaks);
    let mut put = |figure: Figure| bench.figures.push(figure);
    let share = ratios(&found.updates, &found.flushed);
    put(Figure::new("S1", format!("durable updates, random over {registered}"), "/s", found.updates)
        .share_of("redb alone", &found.flushed)
        .note("thin sessions without outbox or attach; each twin once"));
    put(Figure::new("S1", format!("random over {registered} / redb alone flushing such rows"), "x", share)
        .target(Target::AtLeast(OF_REDB_MIN)));
    put(Figure::new("S1", format!("redb alone, random hot rows over {registered}"), "/s", found.flushed));
    put(Figure::new("S1", "CPU of the node, random update", "us", found.node_us));
    put(Figure::new("S1", "cold activations of it", "/s", found.activations));
    put(Figure::new("S1", "ack of a batch of random updates, p99", "ms", found.ack_p99_ms));
    put(Figure::new("S1", "rows a checkpoint of random updates", "", found.rows_per_checkpoint));
    put(Figure::new("S1", "a checkpoint of random updates", "ms", found.checkpoint_ms));
    put(Figure::once("S1", "state file per registered twin", "B", file_bytes as f64 / registered.max(1) as f64));
    Ok(())
}

/// One stretch of it, from the start of the node to its end; says how many rows a checkpoint had.
fn updates(bench: &mut Bench, registered: u64, documents: &Arc<Documents>, found: &mut Found) -> anyhow::Result<usize> {
    let (mut spec, twins) = bench.seeded_twins(SITE, registered, documents)?;
    let node = spec.start()?;
    let rest = spec.rest()?;
    let runtime = bench.runtime.handle().clone();
    let (in_flight, warm_up, lasting) = (bench.plan.in_flight, bench.plan.warm_up, bench.plan.write_slice);
    let clients = runtime.block_on(reporters(&spec, &twins, documents, BATCH, in_flight))?;
    let sampler = Sampler::begin(node.pid(), &rest);
    let mut marks: Vec<anyhow::Result<(Metrics, CpuWatch)>> = Vec::new();
    let mut used = None;
    let mark = || {
        if let Some(Ok((_, watch))) = marks.last() {
            used = watch.end().ok();
        }
        marks.push(rest.metrics().and_then(|metrics| Ok((metrics, CpuWatch::begin(&[node.pid()])?))));
    };
    let (loaded, clients) = runtime.block_on(closed_loop(clients, warm_up, lasting, mark))?;
    // Their sessions end.
    drop(clients);
    std::thread::sleep(bench.plan.settle);
    found.peaks = found.peaks.or(sampler.end()?);
    let used = used.context("the node's CPU time")?;
    bench.saw(&used);
    let mut metrics = marks.into_iter();
    let (before, after) = (metrics.next().context("no mark")??.0, metrics.next().context("one mark")??.0);
    let rise = |name: &str| after.sum(name) - before.sum(name);
    let checkpoints = rise("twinmesh_checkpoints_total").max(1.0);
    let rows = rise("twinmesh_checkpoint_rows_total") / checkpoints;
    let seconds = loaded.lasted.as_secs_f64();
    found.updates.push(loaded.per_s());
    found.node_us.push(used.pids_s.first().copied().unwrap_or_default() * 1e6 / loaded.operations.max(1) as f64);
    found.activations.push(rise("twinmesh_grain_activations_total") / seconds);
    found.rows_per_checkpoint.push(rows);
    found.checkpoint_ms.push(rise("twinmesh_checkpoint_duration_seconds_sum") * 1e3 / checkpoints);
    found.ack_p99_ms.push(loaded.latencies.ms(0.99));
    node.stop()?;
    Ok(rows as usize)
}
