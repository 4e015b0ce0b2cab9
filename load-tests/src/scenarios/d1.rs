//! D1: the overnight price change.
//!
//! One desired write to each twin, in through one `POST /api/v1/twins:batchUpdate`; delivered to the gateway that serves it, which says
//! that it is applied; over when the last of these is acked. Meanwhile another gateway reports 200 updates a second in an open loop, as it
//! did before. The twins are spread over fewer gateways than in a chain of stores: each gateway here is the SDK with its thread and files.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::JoinSet;
use twin_core::value::Value;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::Member;
use crate::measure::{Arrivals, CpuWatch, Latencies, open_loop};
use crate::ndjson::batch_update;
use crate::output::{Figure, Target};
use crate::plan::DOCUMENT_BYTES;
use crate::stage::Stage;

/// The change: 1,500,000 twins within a minute.
const SECONDS_MAX: f64 = 60.0;
const TWINS: u64 = 1_500_000;
/// What the other traffic's p99 may grow to.
const P99_TIMES_MAX: f64 = 3.0;
/// The other traffic.
const OTHER_PER_S: f64 = 200.0;
/// Answers of a gateway under way.
const APPLYING_MAX: usize = 4_096;
/// When the change counts as stuck.
const PATIENCE: Duration = Duration::from_secs(600);
/// The new price.
const PRICE: f64 = 2.49;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let (gateways, devices) = bench.plan.changed;
    // The last one serves the other traffic.
    let stage = Stage::with(bench, 0, gateways + 1, devices, &documents)?;
    let twins = u64::from(gateways) * u64::from(devices);
    let runtime = bench.runtime.handle().clone();
    bench.doing("the other traffic alone");
    let lane = gateways as usize;
    let alone = runtime.block_on(other_traffic(bench, &stage, lane, &AtomicBool::new(true)))?;

    let applied = Arc::new(AtomicU64::new(0));
    let mut appliers = JoinSet::new();
    for member in &stage.fleet.members[..gateways as usize] {
        appliers.spawn_on(apply(member.clone(), Arc::clone(&applied)), &runtime);
    }
    let finished = AtomicBool::new(false);
    let watch = CpuWatch::begin(&[stage.node()?.pid()])?;
    let begun = Instant::now();
    let changed = stage.fleet.members[..gateways as usize].iter().flat_map(|member| member.devices.iter());
    let lines: Vec<String> =
        changed.map(|device| format!("{{\"id\":\"{}\",\"desired\":{{\"price\":{PRICE}}}}}", device.as_str())).collect();
    let token = stage.rest.token().to_owned();
    let change = async {
        let outcome = async {
            let done = batch_update(stage.spec.http, &token, lines.into_iter()).await?;
            let taken_s = begun.elapsed().as_secs_f64();
            if done != twins {
                bail!("{done} results for {twins} items");
            }
            while applied.load(Ordering::Relaxed) < twins {
                bench.doing(format!("{} of {twins} applied", applied.load(Ordering::Relaxed)));
                if let Some(ended) = appliers.try_join_next() {
                    ended??;
                    bail!("a gateway stopped");
                }
                if begun.elapsed() > PATIENCE {
                    bail!("{} of {twins} are applied after {PATIENCE:?}", applied.load(Ordering::Relaxed));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok((taken_s, begun.elapsed().as_secs_f64()))
        }
        .await;
        finished.store(true, Ordering::Relaxed);
        outcome
    };
    let both = async { tokio::try_join!(change, other_traffic(bench, &stage, lane, &finished)) };
    let ((taken_s, applied_s), meanwhile) = runtime.block_on(both)?;
    bench.saw(&watch.end()?);
    appliers.abort_all();
    let scaled = applied_s * TWINS as f64 / twins as f64;
    let mut put = |figure: Figure| bench.figures.push(figure);
    let name = format!("{twins} desired changes, {gateways} gateways, until the last is applied");
    let figure = Figure::once("D1", name, "s", applied_s);
    put(if twins >= TWINS { figure.target(Target::AtMost(SECONDS_MAX)) } else { figure });
    put(Figure::once("D1", "the same, until the last was taken (durable)", "s", taken_s));
    if twins < TWINS {
        put(Figure::once("D1", format!("reckoned for {TWINS}: not measured"), "s", scaled));
    }
    put(Figure::once(
        "D1",
        "p99 of other traffic meanwhile / before",
        "x",
        meanwhile.ms(0.99) / alone.ms(0.99).max(1e-6),
    )
    .target(Target::AtMost(P99_TIMES_MAX)));
    put(Figure::once("D1", "p99 of other traffic before", "ms", alone.ms(0.99)));
    stage.end(bench)
}

/// Updates at a low rate through one gateway, in stretches, at least one, until it is finished.
async fn other_traffic(bench: &Bench, stage: &Stage, lane: usize, finished: &AtomicBool) -> anyhow::Result<Latencies> {
    let mut all = Latencies::default();
    loop {
        let arrivals = Arrivals { per_s: OTHER_PER_S, warm_up: Duration::ZERO, lasting: bench.plan.slice, lanes: 1 };
        let opened = open_loop(arrivals, || {}, |_, group, done| stage.fleet.report_due(lane, group, done)).await?;
        all.add(&opened.latencies);
        if finished.load(Ordering::Relaxed) {
            return Ok(all);
        }
    }
}

/// Takes over what a gateway's devices should be, and says so.
async fn apply(member: Member, applied: Arc<AtomicU64>) -> anyhow::Result<()> {
    let changes = member.gateway.desired();
    let mut answers = FuturesUnordered::new();
    let mut seen = HashSet::new();
    let price = Value::from(PRICE);
    loop {
        tokio::select! {
            change = changes.recv(), if answers.len() < APPLYING_MAX => {
                let change = change.context("the gateway was shut down")?;
                let is_it = change.desired.as_object().and_then(|members| members.get("price")) == Some(&price);
                let first = is_it && seen.insert(change.twin.clone());
                let gateway = member.gateway.clone();
                answers.push(async move {
                    gateway.ack_desired(&change.twin, change.version).await?.acked().await?;
                    anyhow::Ok(first)
                });
            }
            Some(answer) = answers.next(), if !answers.is_empty() => {
                if answer? {
                    applied.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
