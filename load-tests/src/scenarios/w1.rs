//! W1: durable reported updates a second.
//!
//! Ten gateways with 2,500 hot devices each report 300 B documents in calls of 256, 1,024 under way each, in a closed loop, on a node
//! with 100,000 registered twins; an update counts when the SDK says that it is acked. A repeat is a stretch of reports as
//! documents (`report_all`), one of the same by prepared properties (`update_all`), the baselines and the peers; then comes the next.
//! The same load with smaller calls gives the curve.

use anyhow::Context as _;

use crate::baselines::{QuicEcho, RedbAppends, ractor_calls};
use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::{CpuWatch, Spread};
use crate::output::figure::ratios;
use crate::output::{Axis, Figure, Plot, Series, Target};
use crate::peers::{KINDS, Kind, Load, Peer, WINDOWS};
use crate::plan::{BATCH, DOCUMENT_BYTES, GATEWAYS};
use crate::stage::Stage;
use crate::write_load::{Slice, write_slice};

/// Calls of these sizes give the curve.
const BATCHES: [u32; 4] = [1, 16, 64, 256];
/// Checkpoints that the figure must have gone through.
const CHECKPOINTS_MIN: f64 = 10.0;
/// What W1 must reach of Redis.
const OF_REDIS_MIN: f64 = 1.5;

/// What the peers did, window by window and repeat by repeat.
struct Beside {
    peer: Peer,
    per_s: [Vec<f64>; WINDOWS.len()],
}

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let hot = bench.plan.hot_per_gateway;
    let cold = bench.plan.registered.saturating_sub(u64::from(hot) * u64::from(GATEWAYS));
    let stage = Stage::set(bench, cold, hot, &documents)?;
    let dir = bench.directory("w1")?;

    let mut beside = start_peers(bench, &documents)?;
    let mut appends = RedbAppends::create(&dir.join("raw.redb"))?;
    let echo_dir = bench.directory("echo")?;
    let echo = bench.runtime.handle().clone().block_on(async { QuicEcho::start(&echo_dir) })?;
    let (mut slices, mut prepared) = (Vec::new(), Vec::new());
    let (mut raw, mut echoed, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("updates, repeat {}", repeat + 1));
        let slice = write_slice(bench, &stage, BATCH, By::Documents, bench.plan.write_slice)?;
        bench.doing(format!("updates by prepared properties, repeat {}", repeat + 1));
        prepared.push(write_slice(bench, &stage, BATCH, By::Properties, bench.plan.write_slice)?);
        bench.doing(format!("baselines, repeat {}", repeat + 1));
        raw.push(appends.run(slice.rows_per_round(), slice.row_bytes(), bench.plan.baseline)?);
        let plan = bench.plan.clone();
        let runtime = bench.runtime.handle().clone();
        let frame_bytes = slice.frame_bytes() as usize;
        let frames =
            runtime.block_on(echo.run(GATEWAYS as usize, frame_bytes, true, plan.settle / 4, plan.baseline))?;
        echoed.push(frames.per_s() * slice.updates_per_batch());
        called.push(runtime.block_on(ractor_calls(plan.settle / 4, plan.baseline))?);
        slices.push(slice);
        for beside in &mut beside {
            for (at, window) in WINDOWS.into_iter().enumerate() {
                bench.doing(format!("{} x {window}, repeat {}", beside.peer.kind.operation(), repeat + 1));
                let watch = CpuWatch::begin(&[stage.node()?.pid(), beside.peer.pid()])?;
                let loaded = runtime.block_on(beside.peer.write(window, plan.baseline / 4, plan.baseline))?;
                bench.saw(&watch.end()?);
                beside.per_s[at].push(loaded.per_s());
            }
        }
    }
    let generator_us = stage.fleet.generator_us();
    figures(bench, &slices, &prepared, generator_us, [&raw, &echoed, &called], &beside);
    drop(beside);
    curve(bench, &stage)?;
    stage.end(bench)
}

fn start_peers(bench: &mut Bench, documents: &std::sync::Arc<Documents>) -> anyhow::Result<Vec<Beside>> {
    let mut beside = Vec::new();
    if !bench.peers {
        bench.notes.push("W1: no peers were asked for".to_owned());
        return Ok(beside);
    }
    for kind in KINDS {
        bench.doing(format!("starting {}", kind.program()));
        let dir = bench.directory(kind.program())?;
        let load =
            Load { documents: documents.clone(), clients: GATEWAYS, keys_per_client: bench.plan.hot_per_gateway };
        match bench.runtime.handle().clone().block_on(Peer::start(kind, &dir, load)) {
            Ok(Some(peer)) => beside.push(Beside { peer, per_s: Default::default() }),
            Ok(None) => bench.notes.push(format!("W1: {} is not installed: skipped", kind.program())),
            Err(error) => bench.notes.push(format!("W1: {} is skipped: {error:#}", kind.program())),
        }
    }
    Ok(beside)
}

fn figures(
    bench: &mut Bench,
    slices: &[Slice],
    prepared: &[Slice],
    generator_us: f64,
    baselines: [&Vec<f64>; 3],
    beside: &[Beside],
) {
    let per = |figure: fn(&Slice) -> f64| slices.iter().map(figure).collect::<Vec<f64>>();
    let by_properties = |figure: fn(&Slice) -> f64| prepared.iter().map(figure).collect::<Vec<f64>>();
    let updates = per(Slice::updates_per_s);
    let prepared_per_s = by_properties(Slice::updates_per_s);
    bench.writes_per_s = Some(Spread::of(updates.iter().copied()).median);
    let [raw, echoed, called] = baselines;
    let mut put = |figure: Figure| bench.figures.push(figure);
    put(Figure::new("W1", "durable reported updates", "/s", updates.clone())
        .share_of("raw redb appends", raw)
        .note("as documents: `report_all`"));
    put(Figure::new("W1", "the same by prepared properties", "/s", prepared_per_s.clone())
        .share_of("raw redb appends", raw)
        .note("the SDK's cheapest way: `update_all`"));
    for beside in beside {
        let (at, best) = beside.best();
        let name =
            format!("{} {}, {} clients x {}", beside.peer.kind.operation(), beside.peer.version, GATEWAYS, WINDOWS[at]);
        if beside.peer.kind == Kind::Redis {
            put(Figure::new("W1", "durable updates / Redis SET at its best", "x", ratios(&updates, best))
                .target(Target::AtLeast(OF_REDIS_MIN))
                .note("floor 0.75"));
            put(Figure::new("W1", "the same by prepared properties / Redis", "x", ratios(&prepared_per_s, best))
                .target(Target::AtLeast(OF_REDIS_MIN))
                .note("floor 0.75"));
        }
        for (other, window) in WINDOWS.into_iter().enumerate().filter(|(other, _)| *other != at) {
            let name = format!("{}, {} clients x {window}", beside.peer.kind.operation(), GATEWAYS);
            put(Figure::new("W1", name, "/s", beside.per_s[other].clone()));
        }
        put(Figure::new("W1", name, "/s", best.clone()).note(beside.peer.kind.durability()));
    }
    put(Figure::new("W1", "raw durable redb appends, same rows and rounds", "/s", raw.clone()));
    put(Figure::new("W1", "QUIC echo of the same frames, in updates", "/s", echoed.clone()));
    put(Figure::new("W1", "ractor calls", "/s", called.clone()));
    put(Figure::new(
        "W1",
        "state checkpoints that it went through",
        "",
        vec![slices.iter().map(Slice::checkpoints).sum()],
    )
    .target(Target::AtLeast(CHECKPOINTS_MIN))
    .note(format!("by prepared properties: {:.0}", prepared.iter().map(Slice::checkpoints).sum::<f64>())));
    put(Figure::new("W1", "CPU of the node", "us/update", per(Slice::node_us)));
    put(Figure::new("W1", "CPU of ten gateways with the load generator", "us/update", per(Slice::gateways_us))
        .note(format!("of it the generator, measured alone: {generator_us:.2} us")));
    put(Figure::new("W1", "CPU of the node, by prepared properties", "us/update", by_properties(Slice::node_us)));
    put(Figure::new(
        "W1",
        "CPU of ten gateways, by prepared properties",
        "us/update",
        by_properties(Slice::gateways_us),
    ));
    put(Figure::new("W1", "ack in the full closed loop, p50", "ms", per(Slice::ack_p50_ms)));
    put(Figure::new("W1", "ack in the full closed loop, p99", "ms", per(Slice::ack_p99_ms)));
    put(Figure::new("W1", "rows a log round", "", per(|slice| slice.rows_per_round() as f64)));
    put(Figure::new("W1", "bytes of frames an update", "B", per(Slice::bytes_per_update)));
    put(Figure::new("W1", "updates a batch on the wire", "", per(Slice::updates_per_batch)));
}

impl Beside {
    /// The window with the best median, and its repeats.
    fn best(&self) -> (usize, &Vec<f64>) {
        let median = |at: &usize| Spread::of(self.per_s[*at].iter().copied()).median;
        let at = (0..WINDOWS.len()).max_by(|a, b| median(a).total_cmp(&median(b))).unwrap_or_default();
        (at, &self.per_s[at])
    }
}

/// Throughput over the size of a call.
fn curve(bench: &mut Bench, stage: &Stage) -> anyhow::Result<()> {
    let mut points = Vec::new();
    for batch in BATCHES {
        bench.doing(format!("updates in calls of {batch}"));
        let slice = write_slice(bench, stage, batch, By::Documents, bench.plan.slice).context("the curve")?;
        points.push((f64::from(batch), slice.updates_per_s()));
        if batch != BATCH {
            let name = format!("durable updates in calls of {batch}");
            bench.figures.push(Figure::once("W1", name, "/s", slice.updates_per_s()));
        }
    }
    bench.plots.push(Plot {
        file: "throughput-over-batch",
        title: "Durable updates over the size of a call".into(),
        x: Axis::log("updates in one call"),
        y: Axis::linear("durable updates a second"),
        series: vec![Series::new("Twinmesh", points)],
    });
    Ok(())
}
