//! K1: what a running backup does to acks.
//!
//! Updates at a fixed rate in an open loop on a node with many registered twins; in turn without a backup, and with one after the
//! other, read to its end as `twinctl backup` reads it, but thrown away: the disk that it would go to is another one's.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::Method;

use crate::bench::Bench;
use crate::document::Documents;
use crate::measure::{Arrivals, CpuWatch, Opened, open_loop};
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::DOCUMENT_BYTES;
use crate::rest::Rest;
use crate::stage::Stage;

/// Updates a second: a store chain's evening rather than what the machine can do.
const PER_S: f64 = 2_000.0;
/// What the p99 may grow to.
const P99_TIMES_MAX: f64 = 3.0;

/// The backups that were taken meanwhile.
#[derive(Default)]
struct Taken {
    count: u64,
    bytes: u64,
    seconds: f64,
}

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let registered = bench.plan.registered_large.get(1).copied().unwrap_or(bench.plan.registered);
    let stage = Stage::set(bench, registered, bench.plan.hot_per_gateway, &documents)?;
    bench.runtime.handle().clone().block_on(stage.fleet.report_all())?;
    std::thread::sleep(bench.plan.settle);
    let (mut alone, mut meanwhile) = (Vec::new(), Vec::new());
    let mut all = Taken::default();
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("updates without a backup, repeat {}", repeat + 1));
        alone.push(updates(bench, &stage)?);
        bench.doing(format!("updates during backups, repeat {}", repeat + 1));
        let finished = AtomicBool::new(false);
        let (opened, taken) = std::thread::scope(|scope| {
            let backups = scope.spawn(|| back_up(&stage.rest, &finished));
            let opened = updates(bench, &stage);
            finished.store(true, Ordering::Relaxed);
            let taken = backups.join().map_err(|_| anyhow::anyhow!("the backup panicked"))??;
            anyhow::Ok((opened?, taken))
        })?;
        meanwhile.push(opened);
        all = Taken {
            count: all.count + taken.count,
            bytes: all.bytes + taken.bytes,
            seconds: all.seconds + taken.seconds,
        };
    }
    let at = |of: &[Opened], quantile: f64| of.iter().map(|opened| opened.latencies.ms(quantile)).collect::<Vec<_>>();
    let mut put = |figure: Figure| bench.figures.push(figure);
    let (without, with) = (at(&alone, 0.99), at(&meanwhile, 0.99));
    put(Figure::new("K1", "p99 of acks during backups / without", "x", ratios(&with, &without))
        .target(Target::AtMost(P99_TIMES_MAX)));
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        put(Figure::new("K1", format!("{name} of acks at {PER_S}/s without"), "ms", at(&alone, quantile)));
        put(Figure::new("K1", format!("{name} of acks at {PER_S}/s during backups"), "ms", at(&meanwhile, quantile)));
    }
    let count = all.count.max(1) as f64;
    put(Figure::once("K1", format!("a backup, {registered} seeded twins"), "s", all.seconds / count).note(format!(
        "{} of them, {:.1} MB each",
        all.count,
        all.bytes as f64 / count / 1e6
    )));
    stage.end(bench)
}

fn updates(bench: &mut Bench, stage: &Stage) -> anyhow::Result<Opened> {
    let arrivals = Arrivals {
        per_s: PER_S,
        warm_up: bench.plan.warm_up,
        lasting: bench.plan.slice * 2,
        lanes: stage.fleet.members.len(),
    };
    let watch = CpuWatch::begin(&[stage.node()?.pid()])?;
    let runtime = bench.runtime.handle().clone();
    let fire = |lane, group, done| stage.fleet.report_due(lane, group, done);
    let opened = runtime.block_on(open_loop(arrivals, || {}, fire))?;
    bench.saw(&watch.end()?);
    Ok(opened)
}

/// One backup after the other, at least one; those that end count.
fn back_up(rest: &Rest, finished: &AtomicBool) -> anyhow::Result<Taken> {
    let rest = rest.patient();
    let mut taken = Taken::default();
    loop {
        let begun = Instant::now();
        let (status, bytes) = rest.exchange(Method::POST, "/api/v1/backup", None, None)?;
        anyhow::ensure!(status == 200, "POST /backup: {status}");
        taken.count += 1;
        taken.bytes += bytes;
        taken.seconds += begun.elapsed().as_secs_f64();
        if finished.load(Ordering::Relaxed) {
            return Ok(taken);
        }
    }
}
