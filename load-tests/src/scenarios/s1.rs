//! S1: what W1 and R1 lose as ever more twins are registered.
//!
//! The load of W1 (the same number of hot twins) and the SDK's warm reads of R1, on nodes with more and more registered twins. With
//! the most of them also reports uniformly random over all (`random`). Memory and budgets are looked at throughout.

mod random;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::{Peaks, Sampler, closed_loop};
use crate::output::figure::ratios;
use crate::output::{Axis, Figure, Plot, Series, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES};
use crate::reads::SdkReads;
use crate::stage::Stage;
use crate::write_load::write_slice;

/// What must be left of the figure with the fewest twins.
const LEFT_MIN: f64 = 0.8;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let sizes = bench.plan.registered_large;
    let runtime = bench.runtime.handle().clone();
    let (mut writes, mut reads) = (vec![Vec::new(); sizes.len()], vec![Vec::new(); sizes.len()]);
    let mut peaks = vec![Peaks::default(); sizes.len()];
    for repeat in 0..bench.plan.repeats {
        for (at, registered) in sizes.iter().copied().enumerate() {
            let stage = Stage::set(bench, registered, bench.plan.hot_per_gateway, &documents)?;
            let sampler = Sampler::begin(stage.node()?.pid(), &stage.rest);
            bench.doing(format!("updates with {registered} twins, repeat {}", repeat + 1));
            writes[at].push(write_slice(bench, &stage, BATCH, By::Documents, bench.plan.slice)?.updates_per_s());
            bench.doing(format!("reads with {registered} twins, repeat {}", repeat + 1));
            let clients = SdkReads::hot(&stage.fleet, BATCH as usize);
            let (loaded, _) = runtime.block_on(closed_loop(clients, bench.plan.warm_up, bench.plan.slice, || {}))?;
            reads[at].push(loaded.per_s());
            peaks[at] = peaks[at].or(sampler.end()?);
            stage.end(bench)?;
        }
    }
    let mut plots = Vec::new();
    for (what, of) in [("durable updates", &writes), ("SDK reads", &reads)] {
        for (at, registered) in sizes.iter().enumerate() {
            bench.figures.push(Figure::new("S1", format!("{what}, {registered} registered"), "/s", of[at].clone()));
            if at > 0 {
                let name = format!("{what}, {registered} / {} registered", sizes[0]);
                let left = ratios(&of[at], &of[0]);
                bench.figures.push(Figure::new("S1", name, "x", left).target(Target::AtLeast(LEFT_MIN)));
            }
        }
        let median = |repeats: &Vec<f64>| crate::measure::Spread::of(repeats.iter().copied()).median;
        let points = sizes.iter().zip(of).map(|(registered, repeats)| (*registered as f64, median(repeats))).collect();
        plots.push(Series::new(what, points));
    }
    for (registered, peaks) in sizes.iter().zip(peaks) {
        put_peaks(bench, &format!("{registered} registered"), peaks);
    }
    bench.plots.push(Plot {
        file: "throughput-over-twins",
        title: "Throughput over registered twins (25,000 of them hot)".into(),
        x: Axis::log("registered twins"),
        y: Axis::log("operations a second"),
        series: plots,
    });
    random::run(bench, &documents)
}

/// What memory and budgets came to.
fn put_peaks(bench: &mut Bench, when: &str, peaks: Peaks) {
    let mut put = |figure: Figure| bench.figures.push(figure);
    put(Figure::once("S1", format!("highest resident, {when}"), "MB", peaks.resident_bytes as f64 / 1e6)
        .note(format!("looked at {} times", peaks.looks)));
    for (what, share) in [("rows that wait for a checkpoint", peaks.dirty_share), ("log", peaks.log_share)] {
        put(Figure::once("S1", format!("most {what} / budget, {when}"), "x", share).target(Target::AtMost(1.0)));
    }
}
