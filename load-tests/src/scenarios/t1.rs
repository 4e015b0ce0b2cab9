//! T1: from the spawn of the process to its ready line, with many twins on the disk: after a clean stop, and after kill -9 while ten
//! gateways report as fast as they can. (Their outboxes are still full then, and they connect again by themselves.)

use std::time::Duration;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::closed_loop;
use crate::output::{Figure, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES};
use crate::stage::Stage;

const CLEAN_MS_MAX: f64 = 200.0;
const KILLED_MS_MAX: f64 = 1_000.0;
/// Longer than any measured stretch: the kill ends it.
const FOR_EVER: Duration = Duration::from_secs(3600);

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let registered = bench.plan.registered_large.last().copied().unwrap_or_default();
    let mut spec = bench.seeded(crate::stage::SITE, registered, &documents)?;
    let ms = |after: Duration| after.as_secs_f64() * 1e3;
    let mut clean = Vec::new();
    for start in 0..bench.plan.starts {
        bench.doing(format!("clean start {}", start + 1));
        let node = spec.start()?;
        clean.push(ms(node.ready_after()));
        node.stop()?;
    }
    let mut stage = Stage::set(bench, registered, bench.plan.hot_per_gateway, &documents)?;
    let runtime = bench.runtime.handle().clone();
    let mut killed = Vec::new();
    for start in 0..bench.plan.starts {
        bench.doing(format!("kill -9 under load {}", start + 1));
        runtime.block_on(stage.fleet.connected())?;
        let load =
            closed_loop(stage.fleet.reporters(BATCH, bench.plan.in_flight, By::Documents), FOR_EVER, FOR_EVER, || {});
        // The time is up in the middle of it all.
        if let Ok(ended) = runtime.block_on(async { tokio::time::timeout(bench.plan.slice / 2, load).await }) {
            ended?;
        }
        killed.push(ms(stage.kill_and_start()?.ready_after()));
    }
    runtime.block_on(stage.fleet.connected())?;
    runtime.block_on(stage.fleet.drained())?;
    stage.end(bench)?;
    let mut put = |figure: Figure| bench.figures.push(figure);
    put(Figure::new("T1", format!("start to serving, {registered} twins, clean"), "ms", clean)
        .target(Target::AtMost(CLEAN_MS_MAX)));
    put(Figure::new("T1", format!("start to serving, {registered} twins, after kill -9 under W1"), "ms", killed)
        .target(Target::AtMost(KILLED_MS_MAX)));
    Ok(())
}
