//! C1: thousands of connected gateways.
//!
//! Thin sessions (QUIC, handshake, control and state stream, heartbeats; see `thin`) on a node: its resident memory before and after,
//! divided by their number; and W1 before they connect and while they are connected.

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::measure::procfs::resident_bytes;
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES};
use crate::stage::Stage;
use crate::thin::{ThinGateways, register};
use crate::write_load::write_slice;

const BYTES_MAX: f64 = 100_000.0;
/// Gateways of a site: a large store's.
const PER_SITE: u32 = 500;
/// W1 may fall by a tenth.
const LEFT_MIN: f64 = 0.9;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let stage = Stage::set(bench, 0, bench.plan.hot_per_gateway, &documents)?;
    let dir = bench.directory("c1")?;
    let runtime = bench.runtime.handle().clone();
    bench.doing("registering gateways");
    let credentials = register(&stage.rest, &dir, bench.plan.connected, PER_SITE)?;
    let (mut alone, mut crowded, mut per_connection) = (Vec::new(), Vec::new(), Vec::new());
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("updates without them, repeat {}", repeat + 1));
        alone.push(write_slice(bench, &stage, BATCH, By::Documents, bench.plan.slice)?.updates_per_s());
        bench.doing(format!("connecting {} gateways, repeat {}", credentials.len(), repeat + 1));
        let before = resident_bytes(stage.node()?.pid())? as f64;
        let gateways =
            std::sync::Arc::new(runtime.block_on(ThinGateways::connect(stage.spec.quic, credentials.clone()))?);
        let after = resident_bytes(stage.node()?.pid())? as f64;
        // Later ones find memory that the first left behind.
        if repeat == 0 {
            per_connection.push((after - before) / gateways.len() as f64);
        }
        let beating = {
            let gateways = std::sync::Arc::clone(&gateways);
            runtime.spawn(async move { gateways.beat().await })
        };
        bench.doing(format!("updates with them, repeat {}", repeat + 1));
        crowded.push(write_slice(bench, &stage, BATCH, By::Documents, bench.plan.slice)?.updates_per_s());
        if beating.is_finished() {
            runtime.block_on(beating)??;
            anyhow::bail!("the heartbeats ended by themselves");
        }
        beating.abort();
        // It holds the other handle until it has ended.
        let _ = runtime.block_on(beating);
        drop(gateways);
        std::thread::sleep(bench.plan.settle);
    }
    let connected = bench.plan.connected;
    let mut put = |figure: Figure| bench.figures.push(figure);
    put(Figure::new("C1", format!("per connected gateway on the node, of {connected}"), "B", per_connection)
        .target(Target::AtMost(BYTES_MAX))
        .note("thin sessions: no devices attached; many share a UDP socket on their side"));
    put(Figure::new(
        "C1",
        format!("durable updates with {connected} connected / without"),
        "x",
        ratios(&crowded, &alone),
    )
    .target(Target::AtLeast(LEFT_MIN)));
    put(Figure::new("C1", "durable updates without them", "/s", alone));
    put(Figure::new("C1", format!("durable updates with {connected} connected"), "/s", crowded));
    stage.end(bench)
}
