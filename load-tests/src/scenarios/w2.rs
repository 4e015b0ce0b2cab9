//! W2: how long one durable update takes until its ack, in an open loop.
//!
//! Arrivals go to ten gateways in turn, on a schedule; what is due on a gateway at the same moment goes in one call. Timed from the
//! intended start until the SDK says that it is acked. Loads are 200 a second and shares of what W1 measured in the same run; before
//! each, fdatasync and the round trip of a QUIC frame of the same size are timed.

use crate::baselines::{QuicEcho, fdatasync};
use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::{Arrivals, CpuWatch, Latencies, Opened, open_loop};
use crate::output::figure::ratios;
use crate::output::{Axis, Figure, Plot, Series, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES, GATEWAYS};
use crate::stage::Stage;
use crate::write_load::write_slice;

/// Low load, updates a second.
const LOW_PER_S: f64 = 200.0;
/// Further loads, as shares of W1; the one in the middle is what the target speaks of.
const SHARES: [f64; 5] = [0.1, 0.25, 0.5, 0.7, 0.85];
const HALF: f64 = 0.5;
/// Bound of p50 at low load, in fdatasyncs and round trips.
const P50_MAX: f64 = 2.0;
/// Bound of p99 at half load.
const P99_MS_MAX: f64 = 5.0;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let hot = bench.plan.hot_per_gateway;
    let cold = bench.plan.registered.saturating_sub(u64::from(hot) * u64::from(GATEWAYS));
    let stage = Stage::set(bench, cold, hot, &documents)?;
    let dir = bench.directory("w2")?;
    let runtime = bench.runtime.handle().clone();
    let echo = runtime.block_on(async { QuicEcho::start(&dir) })?;
    runtime.block_on(stage.fleet.report_all())?;
    let capacity_per_s = if let Some(per_s) = bench.writes_per_s {
        per_s
    } else {
        bench.doing("W1 was not measured: its load, shortly");
        write_slice(bench, &stage, BATCH, By::Documents, bench.plan.slice)?.updates_per_s()
    };

    let (mut low, mut floor) = (Vec::new(), Vec::new());
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("fdatasync and a QUIC round trip, repeat {}", repeat + 1));
        let syncs = fdatasync(&dir.join("sync"), bench.plan.baseline)?;
        let echoed =
            runtime.block_on(echo.run(1, DOCUMENT_BYTES, false, bench.plan.settle / 8, bench.plan.baseline))?;
        floor.push(Floor { syncs, round_trip_ms: echoed.latencies.ms(0.5) });
        bench.doing(format!("{LOW_PER_S} updates a second, repeat {}", repeat + 1));
        low.push(at(bench, &stage, LOW_PER_S)?.opened);
    }
    let mut loads = Vec::new();
    for share in SHARES {
        let per_s = capacity_per_s * share;
        bench.doing(format!("{per_s:.0} updates a second"));
        let repeats = if (share - HALF).abs() < f64::EPSILON { bench.plan.repeats } else { 1 };
        for _ in 0..repeats {
            match at(bench, &stage, per_s) {
                Ok(ran) => loads.push((share, per_s, ran)),
                Err(error) => {
                    bench
                        .notes
                        .push(format!("W2: {per_s:.0} updates a second ({share} of W1) were too many: {error:#}"));
                    break;
                }
            }
            runtime.block_on(stage.fleet.drained())?;
            std::thread::sleep(bench.plan.settle);
        }
    }
    figures(bench, &low, &floor, &loads);
    stage.end(bench)
}

/// What nothing durable can be quicker than, just before a low load.
struct Floor {
    syncs: Latencies,
    round_trip_ms: f64,
}

/// What one open loop showed.
struct Ran {
    opened: Opened,
    /// CPU of the node, and of this process, for each update of the schedule, in microseconds.
    node_us: f64,
    gateways_us: f64,
}

/// One open loop at this rate.
fn at(bench: &mut Bench, stage: &Stage, per_s: f64) -> anyhow::Result<Ran> {
    let arrivals =
        Arrivals { per_s, warm_up: bench.plan.warm_up, lasting: bench.plan.slice, lanes: stage.fleet.members.len() };
    let watch = CpuWatch::begin(&[stage.node()?.pid()])?;
    let runtime = bench.runtime.handle().clone();
    let fire = |lane, group, done| stage.fleet.report_due(lane, group, done);
    let opened = runtime.block_on(open_loop(arrivals, || {}, fire))?;
    let used = watch.end()?;
    bench.saw(&used);
    let updates = per_s * (arrivals.warm_up + arrivals.lasting).as_secs_f64();
    let node_us = used.pids_s.first().copied().unwrap_or_default() * 1e6 / updates;
    Ok(Ran { opened, node_us, gateways_us: used.own_s * 1e6 / updates })
}

fn figures(bench: &mut Bench, low: &[Opened], floor: &[Floor], loads: &[(f64, f64, Ran)]) {
    let of_low = |figure: &dyn Fn(&Opened) -> f64| low.iter().map(figure).collect::<Vec<f64>>();
    let half: Vec<&Ran> =
        loads.iter().filter(|load| (load.0 - HALF).abs() < f64::EPSILON).map(|load| &load.2).collect();
    let of_half = |figure: &dyn Fn(&Opened) -> f64| half.iter().map(|ran| figure(&ran.opened)).collect::<Vec<f64>>();
    let floors: Vec<f64> = floor.iter().map(|floor| floor.syncs.ms(0.5) + floor.round_trip_ms).collect();
    let half_per_s = loads.iter().find(|load| (load.0 - HALF).abs() < f64::EPSILON).map_or(0.0, |load| load.1);
    let mut put = |figure: Figure| bench.figures.push(figure);
    let p50 = of_low(&|opened| opened.latencies.ms(0.5));
    put(Figure::new("W2", "ack p50 / (fdatasync + QUIC round trip), 200/s", "x", ratios(&p50, &floors))
        .target(Target::AtMost(P50_MAX)));
    put(Figure::new("W2", "ack p50 at 200/s", "ms", p50)
        .share_of("fdatasync + QUIC round trip", &floors)
        .note(format!("{} arrivals a repeat", low.first().map_or(0, |opened| opened.arrivals))));
    for quantile in [0.99, 0.999] {
        put(Figure::new(
            "W2",
            format!("ack p{} at 200/s", quantile * 100.0),
            "ms",
            of_low(&|opened| opened.latencies.ms(quantile)),
        ));
    }
    let late = |opened: &Opened| opened.late.ms(0.5);
    put(Figure::new("W2", "of it the pacer's lateness, p50 at 200/s", "ms", of_low(&late)));
    let name = |quantile: f64| format!("ack p{} at half of W1 ({half_per_s:.0}/s)", quantile * 100.0);
    put(Figure::new("W2", name(0.99), "ms", of_half(&|opened| opened.latencies.ms(0.99)))
        .target(Target::AtMost(P99_MS_MAX)));
    for quantile in [0.5, 0.999] {
        put(Figure::new("W2", name(quantile), "ms", of_half(&|opened| opened.latencies.ms(quantile))));
    }
    put(Figure::new("W2", "of it the pacer's lateness, p50 at half of W1", "ms", of_half(&late)));
    let node_us = half.iter().map(|ran| ran.node_us).collect();
    put(Figure::new("W2", "CPU of the node at half of W1", "us/update", node_us));
    let gateways_us = half.iter().map(|ran| ran.gateways_us).collect();
    put(Figure::new("W2", "CPU of ten gateways with the load generator, the same", "us/update", gateways_us));
    let of_floor = |figure: &dyn Fn(&Floor) -> f64| floor.iter().map(figure).collect::<Vec<f64>>();
    put(Figure::new("W2", "fdatasync of 4 KiB, p50", "ms", of_floor(&|floor| floor.syncs.ms(0.5))));
    // No p99 of an ack is below it.
    put(Figure::new("W2", "fdatasync of 4 KiB, p99", "ms", of_floor(&|floor| floor.syncs.ms(0.99))));
    put(Figure::new("W2", "QUIC round trip of 300 B, p50", "ms", of_floor(&|floor| floor.round_trip_ms)));

    let mut all: Vec<(f64, &Latencies)> = low.iter().take(1).map(|opened| (LOW_PER_S, &opened.latencies)).collect();
    all.extend(loads.iter().map(|(_, per_s, ran)| (*per_s, &ran.opened.latencies)));
    let series = |quantile: f64| {
        let points = all.iter().map(|(per_s, latencies)| (*per_s, latencies.ms(quantile))).collect();
        Series::new(format!("p{}", quantile * 100.0), points)
    };
    bench.plots.push(Plot {
        file: "latency-over-load",
        title: "Latency of the ack over load (open loop, from the intended start)".into(),
        x: Axis::linear("durable updates a second"),
        y: Axis::log("milliseconds"),
        series: [0.5, 0.99, 0.999].map(series).into(),
    });
}
