//! M1: memory of the node.
//!
//! Idle: an empty node after some quiet. Per active grain: twins are read until a fifth of the grains is active, and then until all
//! are; the slope between the two, less the document, so that what grows once (caches, buffers) does not count. With many registered
//! twins: the node's resident memory before and with all these grains. Per registered twin that is not active: the slope between the nodes
//! with the fewest and the most of them, just started; and what each takes of the state file as it was seeded, which is denser than
//! one that grew row by row.

use std::time::Duration;

use crate::bench::Bench;
use crate::document::Documents;
use crate::measure::procfs::resident_bytes;
use crate::measure::{Client, Sampler};
use crate::output::{Axis, Figure, Plot, Series, Target};
use crate::plan::DOCUMENT_BYTES;
use crate::reads::{ColdIds, SdkReads};
use crate::stage::Stage;

/// Quiet before memory is looked at.
const IDLE_FOR: Duration = Duration::from_secs(3);
const IDLE_MB_MAX: f64 = 30.0;
const GRAIN_BYTES_MAX: f64 = 9_000.0;
const FULL_MB_MAX: f64 = 1_500.0;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut spec = bench.node()?;
    bench.doing("an idle node");
    let node = spec.start()?;
    std::thread::sleep(IDLE_FOR);
    let idle_mb = resident_bytes(node.pid())? as f64 / 1e6;
    drop(node);
    bench.figures.push(Figure::once("M1", "idle node, resident", "MB", idle_mb).target(Target::AtMost(IDLE_MB_MAX)));

    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let (mut resting, mut active) = (Vec::new(), Vec::new());
    for registered in bench.plan.registered_large.iter().copied() {
        let stage = Stage::set(bench, registered, 0, &documents)?;
        std::thread::sleep(IDLE_FOR.min(bench.plan.settle));
        // Resident memory, and how many grains the node says are active.
        let look = || {
            let active = stage.rest.metrics()?.sum("twinmesh_grains_active");
            anyhow::Ok((resident_bytes(stage.node()?.pid())? as f64 / 1e6, active))
        };
        resting.push((registered as f64, look()?.0));
        let file_bytes = std::fs::metadata(stage.spec.data_dir.join("state.redb"))?.len() as f64;
        bench.figures.push(Figure::once(
            "M1",
            format!("state file per registered twin, of {registered}"),
            "B",
            file_bytes / registered.max(1) as f64,
        ));
        let grains = bench.plan.active.min(registered);
        let ids = ColdIds::of(registered);
        bench.doing(format!("activating {grains} of {registered} twins"));
        let sampler = Sampler::begin(stage.node()?.pid(), &stage.rest);
        read(bench, &stage, &ids, grains / 5)?;
        let (fifth_mb, fifth) = look()?;
        read(bench, &stage, &ids, grains - grains / 5)?;
        let (all_mb, all) = look()?;
        let peak_mb = sampler.end()?.resident_bytes as f64 / 1e6;
        active.push((registered as f64, all_mb));
        let per_grain = (all_mb - fifth_mb) * 1e6 / (all - fifth).max(1.0) - DOCUMENT_BYTES as f64;
        let name = format!("per active grain above its document, of {registered}");
        let figure = Figure::once("M1", name, "B", per_grain).note(format!("from {fifth} to {all} active"));
        // Few grains say more of the allocator than of grains.
        let is_last = Some(&registered) == bench.plan.registered_large.last();
        bench.figures.push(if is_last { figure.target(Target::AtMost(GRAIN_BYTES_MAX)) } else { figure });
        let name = format!("{registered} registered, {all} active, resident");
        let figure = Figure::once("M1", name, "MB", peak_mb.max(all_mb)).note("the highest that was seen");
        bench.figures.push(if is_last { figure.target(Target::AtMost(FULL_MB_MAX)) } else { figure });
        stage.end(bench)?;
    }
    if let [fewest, .., most] = resting[..] {
        let name = format!("memory per registered twin that is not active, {} / {}", fewest.0, most.0);
        let slope = (most.1 - fewest.1) * 1e6 / (most.0 - fewest.0).max(1.0);
        bench.figures.push(
            Figure::once("M1", name, "B", slope)
                .note(format!("just started: {:.1} and {:.1} MB resident", fewest.1, most.1)),
        );
    }
    bench.plots.push(Plot {
        file: "memory-over-twins",
        title: "Resident memory of a node over registered twins".into(),
        x: Axis::log("registered twins"),
        y: Axis::linear("MB"),
        series: vec![
            Series::new("just started", resting),
            Series::new(format!("up to {} active", bench.plan.active), active),
        ],
    });
    Ok(())
}

/// Reads this many further twins, once each.
fn read(bench: &Bench, stage: &Stage, ids: &std::sync::Arc<ColdIds>, twins: u64) -> anyhow::Result<()> {
    let mut clients = SdkReads::cold(&stage.fleet, ids, 1);
    let share = twins.div_ceil(clients.len() as u64);
    bench.runtime.block_on(async {
        let mut reading = tokio::task::JoinSet::new();
        for mut client in clients.drain(..) {
            reading.spawn(async move {
                for _ in 0..share {
                    client.step().await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = reading.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })
}
