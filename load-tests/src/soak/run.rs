//! The run of a soak: capacity, clients, verdict, and what is left when everybody has gone.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::samples::{Looking, What};
use super::scene::{Scene, Tally};
use super::{batches, observers, passers, report, rest_clients, stores};
use crate::bench::Bench;
use crate::cli::SoakArgs;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::CpuWatch;
use crate::node_process::NodeSpec;
use crate::plan::{BATCH, DOCUMENT_BYTES, Plan};
use crate::rest::{Metrics, Rest};
use crate::stage::{SITE, Stage};
use crate::thin::register;
use crate::write_load::write_slice;

/// Looks at the node in a run, at the most one a second.
const LOOKS_MIN: f64 = 120.0;
/// Gateways of a site of those that pass by.
const PASSERS_PER_SITE: u32 = 100;
/// How long clients may take to go.
const GOING_MAX: Duration = Duration::from_secs(60);
/// By then the node must have noticed that they are gone: those who vanished are told by silence.
const NOTICED_WITHIN: Duration = Duration::from_secs(45);

/// What a run came to, besides the looks.
pub(super) struct Outcome {
    /// Reports a second in a closed loop; `None`: it was not asked.
    pub(super) capacity_per_s: Option<f64>,
    pub(super) rate_per_s: f64,
    pub(super) lasted_s: f64,
    /// Cores that the node and this process took.
    pub(super) node_cores: f64,
    pub(super) own_cores: f64,
    /// What the node counted while the clients came and went.
    pub(super) activations: f64,
    pub(super) passivations: f64,
    pub(super) sessions: f64,
    /// Sessions, connections and observers that the node still has after everybody left.
    pub(super) left_behind: f64,
    /// Its memory then.
    pub(super) resident_after: f64,
}

/// Runs it, prints and writes; `false`: something is not flat, or must not have happened.
pub(crate) fn run(args: &SoakArgs) -> anyhow::Result<bool> {
    let mut bench = Bench::new(plan(args), false, args.dir.as_deref())?;
    println!("{}", bench.machine);
    bench.enter("soak");
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let capacity_per_s = match args.rate {
        Some(_) => None,
        None => Some(capacity(&mut bench, args, &documents)?),
    };
    let rate_per_s = args.rate.or(capacity_per_s.map(|capacity| capacity / 2.0)).context("a rate")?;
    let mut spec = bench.seeded(SITE, args.registered, &documents)?;
    spec.leak_bytes_per_s = args.leak_bytes_per_s;
    let lasting = Duration::from_secs_f64(args.minutes * 60.0);
    bench.quiet();
    println!("{rate_per_s:.0} reports a second for {:.0} s; a sixth of it is warm-up", lasting.as_secs_f64());
    let dir = bench.directory("clients")?;

    let node = spec.start()?;
    let rest = spec.rest()?;
    let passers_dir = dir.join("passers");
    std::fs::create_dir(&passers_dir)?;
    let passing = register(&rest, &passers_dir, passers::POLITE + passers::VANISHING, PASSERS_PER_SITE)
        .context("those who pass by")?;
    let (end, over) = watch::channel(false);
    let scene = Arc::new(scene(args, &spec, &rest, dir, &documents, over));
    let interval = Duration::from_secs_f64((lasting.as_secs_f64() / LOOKS_MIN).min(1.0));
    let looking = Looking::begin(node.pid(), spec.data_dir.clone(), rest.clone(), interval);
    let before = rest.metrics()?;
    let watch = CpuWatch::begin(&[node.pid()])?;
    let mut tasks = JoinSet::new();
    {
        let _runtime = bench.runtime.enter();
        stores::spawn(&scene, rate_per_s, &mut tasks);
        passers::spawn(&scene, passing, &mut tasks);
        rest_clients::spawn(&scene, &mut tasks);
        observers::spawn(&scene, &mut tasks);
        batches::spawn(&scene, &mut tasks);
    }
    let begun = Instant::now();
    wait(&scene, &looking, lasting, &mut tasks)?;
    let lasted_s = begun.elapsed().as_secs_f64();
    let used = watch.end()?;
    bench.saw(&used);
    let after = rest.metrics()?;
    let samples = looking.end()?;

    let _ = end.send(true);
    bench.runtime.block_on(async {
        let going = async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(GOING_MAX, going).await.context("clients do not go")?
    })?;
    let last = gone(&rest)?;
    let rise = |name: &str| after.sum(name) - before.sum(name);
    let outcome = Outcome {
        capacity_per_s,
        rate_per_s,
        lasted_s,
        node_cores: used.pids_s.iter().sum::<f64>() / used.lasted_s,
        own_cores: used.own_s / used.lasted_s,
        activations: rise("twinmesh_grain_activations_total"),
        passivations: rise("twinmesh_grain_passivations_total"),
        sessions: rise("twinmesh_quic_sessions_total"),
        left_behind: present(&last),
        resident_after: last.sum("process_resident_memory_bytes"),
    };
    node.stop()?;
    report::show(&mut bench, args, &scene.tally, &samples, &outcome)
}

/// A short run, as short as the soak allows.
fn plan(args: &SoakArgs) -> Plan {
    let base = if args.minutes < 1.0 { Plan::tiny() } else { Plan::quick() };
    Plan { hot_per_gateway: args.devices, registered: args.registered, ..base }
}

/// What a closed loop of as many gateways does, on a node with as many twins and nobody else.
fn capacity(bench: &mut Bench, args: &SoakArgs, documents: &Arc<Documents>) -> anyhow::Result<f64> {
    let stage = Stage::with(bench, args.registered, args.gateways, args.devices, documents)?;
    bench.doing("capacity");
    let slice = write_slice(bench, &stage, BATCH, By::Documents, bench.plan.write_slice)?;
    stage.end(bench)?;
    Ok(slice.updates_per_s())
}

fn scene(
    args: &SoakArgs,
    spec: &NodeSpec,
    rest: &Rest,
    dir: std::path::PathBuf,
    documents: &Arc<Documents>,
    over: watch::Receiver<bool>,
) -> Scene {
    Scene {
        quic: spec.quic,
        http: spec.http,
        rest: rest.clone(),
        dir,
        documents: Arc::clone(documents),
        devices: args.devices,
        registered: args.registered,
        prefixes: (0..args.gateways).map(|_| Mutex::default()).collect(),
        tally: Tally::default(),
        over,
    }
}

/// Waits until the time is up, with a bar; an error if clients end before.
fn wait(
    scene: &Scene,
    looking: &Looking,
    lasting: Duration,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let bar = ProgressBar::new(lasting.as_secs());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {elapsed} of {len} s, {msg}") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    let mut told = 0;
    while begun.elapsed() < lasting {
        std::thread::sleep(Duration::from_millis(200).min(lasting.saturating_sub(begun.elapsed())));
        if let Some(ended) = tasks.try_join_next() {
            ended??;
            bail!("a client ended by itself");
        }
        let count = |count: &AtomicU64| Tally::get(count);
        let message = format!(
            "{:.1} MB resident, {} grains, {} sessions, {} open files, {} acked, {} unexpected",
            looking.last(What::Resident) / 1e6,
            looking.last(What::Grains),
            looking.last(What::Sessions),
            looking.last(What::OpenFiles),
            count(&scene.tally.acked),
            count(&scene.tally.unexpected),
        );
        // Who writes into a file sees a line a minute.
        if bar.is_hidden() && begun.elapsed().as_secs() / 60 > told {
            told += 1;
            eprintln!("{told} min: {message}");
        }
        bar.set_position(begun.elapsed().as_secs());
        bar.set_message(message);
    }
    bar.finish_and_clear();
    Ok(())
}

/// Sessions, connections and observers.
fn present(metrics: &Metrics) -> f64 {
    ["twinmesh_gateway_sessions", "twinmesh_quic_connections_open", "twinmesh_observers"]
        .map(|name| metrics.sum(name))
        .iter()
        .sum()
}

/// Waits until the node has noticed that everybody is gone; how it is then, or at the latest.
fn gone(rest: &Rest) -> anyhow::Result<Metrics> {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let metrics = rest.metrics()?;
        if present(&metrics) < 1.0 || Instant::now() > deadline {
            return Ok(metrics);
        }
        std::thread::sleep(Duration::from_millis(250));
    }
}
