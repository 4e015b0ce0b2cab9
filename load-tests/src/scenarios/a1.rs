//! A1: cold activations.
//!
//! A node that was just started on a directory with registered twins; distinct twins are read through the SDK, in an order that is
//! none. More twins than may be active, so that each read activates one, and passivates another once the table is full; the node's
//! own count of activations is the figure. What is due at the same time on a gateway is read in one call. "Cold" is the node: what the system keeps of its file in memory is not thrown out.

use twin_core::ids::TwinId;

use crate::bench::Bench;
use crate::document::Documents;
use crate::measure::{Arrivals, CpuWatch, Due, closed_loop, open_loop};
use crate::output::{Figure, Target};
use crate::plan::DOCUMENT_BYTES;
use crate::reads::{CALLS_IN_FLIGHT, COLD_BATCH, ColdIds, Looks, SdkReads, read_all};
use crate::stage::Stage;

const PER_S_MIN: f64 = 40_000.0;
const P99_MS_MAX: f64 = 2.0;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let mut rates = Vec::new();
    let (mut p50, mut p99, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let mut passivated = 0.0;
    let runtime = bench.runtime.handle().clone();
    for repeat in 0..bench.plan.repeats {
        // A new node each time: its cache is as cold as its table.
        let stage = Stage::set(bench, bench.plan.cold, 0, &documents)?;
        let ids = ColdIds::of(bench.plan.cold);
        bench.doing(format!("cold reads at {}/s, repeat {}", bench.plan.cold_per_s, repeat + 1));
        let arrivals = Arrivals {
            per_s: bench.plan.cold_per_s,
            warm_up: bench.plan.warm_up,
            lasting: bench.plan.slice,
            lanes: stage.fleet.members.len(),
        };
        let watch = CpuWatch::begin(&[stage.node()?.pid()])?;
        let opened = runtime.block_on(open_loop(
            arrivals,
            || {},
            |lane, group: Vec<Due>, done| {
                let gateway = stage.fleet.members[lane].gateway.clone();
                let ids = ids.clone();
                async move {
                    let twins: Vec<TwinId> = group.iter().map(|_| ids.next()).collect::<anyhow::Result<_>>()?;
                    Looks::default().at(&read_all(&gateway, &twins).await?)?;
                    for due in group {
                        done.tell(due);
                    }
                    Ok(())
                }
            },
        ));
        match opened {
            Ok(opened) => {
                p50.push(opened.latencies.ms(0.5));
                p99.push(opened.latencies.ms(0.99));
                late.push(opened.late.ms(0.99));
            }
            Err(error) => bench.notes.push(format!("A1: {}/s: {error:#}", bench.plan.cold_per_s)),
        }
        bench.doing(format!("cold reads as fast as they go, repeat {}", repeat + 1));
        let before = stage.rest.metrics()?;
        let begun = std::time::Instant::now();
        let clients = SdkReads::cold(&stage.fleet, &ids, COLD_BATCH);
        let (loaded, _) = runtime.block_on(closed_loop(clients, bench.plan.warm_up, bench.plan.slice, || {}))?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = stage.rest.metrics()?;
        bench.saw(&watch.end()?);
        let activated = after.sum("twinmesh_grain_activations_total") - before.sum("twinmesh_grain_activations_total");
        passivated += after.sum("twinmesh_grain_passivations_total") - before.sum("twinmesh_grain_passivations_total");
        // The metrics cover warm-up and end as well; reads that were warm would show as a lower rate than the reads'.
        rates.push((activated / seconds).min(loaded.per_s()));
        stage.end(bench)?;
    }
    let cold = bench.plan.cold;
    let mut put = |figure: Figure| bench.figures.push(figure);
    put(Figure::new("A1", "cold activations", "/s", rates)
        .target(Target::AtLeast(PER_S_MIN))
        .note(format!(
            "{CALLS_IN_FLIGHT} calls of {COLD_BATCH} under way from each gateway, of {cold} registered twins; {passivated:.0} were passivated meanwhile"
        )));
    let at = bench.plan.cold_per_s;
    put(Figure::new("A1", format!("cold read p99 at {at}/s"), "ms", p99).target(Target::AtMost(P99_MS_MAX)));
    put(Figure::new("A1", format!("cold read p50 at {at}/s"), "ms", p50));
    put(Figure::new("A1", format!("of it the pacer's lateness, p99 at {at}/s"), "ms", late));
    Ok(())
}
