//! D1: the overnight price change.
//!
//! One desired write to each twin, store by store, in through one `POST /api/v1/twins:batchUpdate`; delivered to the gateway that serves it,
//! which says that it is applied; over when the last of these is committed. Meanwhile another gateway reports 200 updates a second in an
//! open loop, as it did before. The stores' gateways are thin sessions (see `thin_devices`) in this process, on threads of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use twin_core::ids::TwinId;

use crate::bench::Bench;
use crate::document::Documents;
use crate::measure::{Arrivals, CpuWatch, Latencies, open_loop};
use crate::ndjson::batch_update;
use crate::output::{Figure, Target};
use crate::plan::{Chain, DOCUMENT_BYTES};
use crate::stage::Stage;
use crate::thin::{ThinGateways, register};
use crate::thin_devices::{Progress, serve};

/// The change: 1,500,000 twins within a minute.
const SECONDS_MAX: f64 = 60.0;
const TWINS: u64 = 1_500_000;
/// What the other traffic's p99 may grow to.
const P99_TIMES_MAX: f64 = 3.0;
/// The other traffic, and its devices.
const OTHER_PER_S: f64 = 200.0;
const OTHER_DEVICES: u32 = 2_500;
/// When attaching, or the change, counts as stuck.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let chain = bench.plan.changed;
    let stage = Stage::with(bench, 0, 1, OTHER_DEVICES, &documents)?;
    // Other boxes in life: their work is not in the way of the other traffic's tasks, but on the same two cores.
    let stores = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("stores").build()?;
    let progress = Arc::<Progress>::default();
    let (mut serving, gateways) = open(bench, &stage, chain, &stores, &progress)?;
    let twins = twins(chain);
    let until = |bench: &Bench, what: &str, serving: &mut JoinSet<_>, count: &dyn Fn() -> u64| {
        let begun = Instant::now();
        while count() < twins {
            bench.doing(format!("{} of {twins} {what}", count()));
            if let Some(ended) = serving.try_join_next() {
                let ended: anyhow::Result<()> = ended?;
                ended?;
                bail!("a gateway stopped");
            }
            if begun.elapsed() > PATIENCE {
                bail!("{} of {twins} are {what} after {PATIENCE:?}", count());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    };
    until(bench, "attached", &mut serving, &|| progress.attached.load(Ordering::Relaxed))?;
    std::thread::sleep(bench.plan.settle);
    let runtime = bench.runtime.handle().clone();
    bench.doing("the other traffic alone");
    let alone = runtime.block_on(other_traffic(bench.plan.slice, &stage, &AtomicBool::new(true)))?;

    let slice = bench.plan.slice;
    let watch = CpuWatch::begin(&[stage.node()?.pid()])?;
    let (addr, token) = (stage.spec.http, stage.rest.token().to_owned());
    let begun = Instant::now();
    let change = stores.spawn(async move {
        let done = batch_update(addr, &token, lines(chain)).await?;
        anyhow::Ok((done, begun.elapsed().as_secs_f64()))
    });
    let finished = AtomicBool::new(false);
    let (applied_s, meanwhile) = std::thread::scope(|scope| {
        let other = scope.spawn(|| runtime.block_on(other_traffic(slice, &stage, &finished)));
        let applied = until(bench, "applied", &mut serving, &|| progress.applied.load(Ordering::Relaxed))
            .map(|()| begun.elapsed().as_secs_f64());
        finished.store(true, Ordering::Relaxed);
        let other = other.join().map_err(|_| anyhow::anyhow!("the other traffic panicked"));
        anyhow::Ok((applied?, other??))
    })?;
    let used = watch.end()?;
    bench.saw(&used);
    let (done, taken_s) = stores.block_on(change)??;
    if done != twins {
        bail!("{done} results for {twins} items");
    }
    serving.abort_all();
    drop(gateways);
    stores.shutdown_background();

    let Chain { stores, gateways, devices } = chain;
    let mut put = |figure: Figure| bench.figures.push(figure);
    let name = format!("{twins} desired changes, {} gateways, until the last is applied", stores * gateways);
    let figure = Figure::once("D1", name, "s", applied_s);
    put(if twins >= TWINS { figure.target(Target::AtMost(SECONDS_MAX)) } else { figure });
    put(Figure::once("D1", "the same, until the last was taken (durable)", "s", taken_s));
    if twins < TWINS {
        let scaled = applied_s * TWINS as f64 / twins as f64;
        put(Figure::once("D1", format!("reckoned for {TWINS}: not measured"), "s", scaled));
    }
    put(Figure::once("D1", "applied changes", "/s", twins as f64 / applied_s)
        .note(format!("thin gateways, {devices} devices each, changed one gateway after the other")));
    let us = |seconds: f64| seconds * 1e6 / twins as f64;
    put(Figure::once("D1", "CPU of the node", "us/change", us(used.pids_s.iter().sum())));
    put(Figure::once("D1", "CPU of gateways, client and other traffic", "us/change", us(used.own_s)));
    let frames = progress.frames.load(Ordering::Relaxed).max(1);
    put(Figure::once("D1", "deltas a frame", "", progress.received.load(Ordering::Relaxed) as f64 / frames as f64));
    let times = meanwhile.ms(0.99) / alone.ms(0.99).max(1e-6);
    put(Figure::once("D1", "p99 of other traffic meanwhile / before", "x", times).target(Target::AtMost(P99_TIMES_MAX)));
    put(Figure::once("D1", "p99 of other traffic before", "ms", alone.ms(0.99)));
    put(Figure::once("D1", "p99 of other traffic meanwhile", "ms", meanwhile.ms(0.99)));
    put(Figure::once("D1", "p50 of other traffic meanwhile", "ms", meanwhile.ms(0.5)));
    stage.end(bench)
}

fn twins(chain: Chain) -> u64 {
    u64::from(chain.stores) * u64::from(chain.gateways) * u64::from(chain.devices)
}

/// Store by store, gateway by gateway.
fn devices(chain: Chain, gateway: u32) -> impl Iterator<Item = String> {
    let store = gateway / chain.gateways;
    (0..chain.devices).map(move |device| format!("label-{store}-{gateway}-{device}"))
}

fn lines(chain: Chain) -> impl Iterator<Item = String> + Send {
    let all = (0..chain.stores * chain.gateways).flat_map(move |gateway| devices(chain, gateway));
    all.map(|device| format!("{{\"id\":\"{device}\",\"desired\":{{\"price\":2.49}}}}"))
}

type Serving = JoinSet<anyhow::Result<()>>;

/// The stores' gateways, connected; their devices are being attached.
fn open(
    bench: &mut Bench,
    stage: &Stage,
    chain: Chain,
    stores: &Runtime,
    progress: &Arc<Progress>,
) -> anyhow::Result<(Serving, ThinGateways)> {
    let dir = bench.directory("d1")?;
    bench.doing("registering gateways");
    let credentials = register(&stage.rest, &dir, chain.stores * chain.gateways, chain.gateways)?;
    bench.doing(format!("connecting {} gateways", credentials.len()));
    let mut gateways = stores.block_on(ThinGateways::connect(stage.spec.quic, credentials))?;
    let mut serving = JoinSet::new();
    for (thin, gateway) in gateways.take().into_iter().zip(0..) {
        let ids = devices(chain, gateway).map(|id| TwinId::new(&id)).collect::<Result<_, _>>()?;
        serving.spawn_on(serve(thin, ids, Arc::clone(progress)), stores.handle());
    }
    Ok((serving, gateways))
}

/// Updates at a low rate through one gateway, in stretches, at least one, until it is finished.
async fn other_traffic(slice: Duration, stage: &Stage, finished: &AtomicBool) -> anyhow::Result<Latencies> {
    let mut all = Latencies::default();
    loop {
        let arrivals = Arrivals { per_s: OTHER_PER_S, warm_up: Duration::ZERO, lasting: slice, lanes: 1 };
        let opened = open_loop(arrivals, || {}, |_, group, done| stage.fleet.report_due(0, group, done)).await?;
        all.add(&opened.latencies);
        if finished.load(Ordering::Relaxed) {
            return Ok(all);
        }
    }
}
