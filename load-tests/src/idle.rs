//! How fast a node is ready, and what it takes when nothing happens.

use std::fmt;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Serialize;
use twin_core::ids::TwinId;
use twin_gateway::{Gateway, Options, Report};

use crate::cli::IdleArgs;
use crate::document::document;
use crate::fleet::credentials;
use crate::machine::Machine;
use crate::measure::Spread;
use crate::measure::procfs::resident_bytes;
use crate::node_process::NodeSpec;
use crate::scratch::Scratch;

/// A node shall be ready within this.
const READY_MS_MAX: f64 = 100.0;
/// An idle node shall take at most this.
const IDLE_BYTES_MAX: f64 = 50e6;
/// Quiet before memory is looked at.
const IDLE_FOR: Duration = Duration::from_secs(5);
/// Size of the documents that the twins have.
const DOCUMENT_BYTES: usize = 300;
/// Twins reported in one call.
const BATCH: usize = 500;

#[derive(Debug, Serialize)]
struct Figures {
    machine: Machine,
    starts: u32,
    twins: u32,
    ready_empty_ms: Spread,
    ready_after_kill_ms: Spread,
    idle_empty_bytes: f64,
    idle_after_kill_bytes: f64,
    met: bool,
}

/// Measures and prints; `false`: a target of a release build is missed.
pub(crate) fn run(args: &IdleArgs) -> anyhow::Result<bool> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let bar = ProgressBar::new(u64::from(args.starts) * 2);
    let mut empty = Vec::new();
    let mut idle_empty_bytes = 0.0;
    for number in 0..args.starts {
        let mut spec = NodeSpec::new(args.twind.clone(), scratch.path().join(format!("empty-{number}")));
        let node = spec.start()?;
        empty.push(node.ready_after().as_secs_f64() * 1e3);
        if number == 0 {
            std::thread::sleep(IDLE_FOR);
            idle_empty_bytes = resident_bytes(node.pid())? as f64;
        }
        bar.inc(1);
    }

    let mut spec = NodeSpec::new(args.twind.clone(), scratch.path().join("full"));
    let mut node = spec.start()?;
    fill(&spec, &scratch, args.twins)?;
    let mut full = Vec::new();
    let mut idle_after_kill_bytes = 0.0;
    for number in 0..args.starts {
        node.kill()?;
        node = spec.start()?;
        full.push(node.ready_after().as_secs_f64() * 1e3);
        if number == 0 {
            std::thread::sleep(IDLE_FOR);
            idle_after_kill_bytes = resident_bytes(node.pid())? as f64;
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (ready_empty_ms, ready_after_kill_ms) = (Spread::of(empty), Spread::of(full));
    let met = ready_empty_ms.median < READY_MS_MAX
        && ready_after_kill_ms.median < READY_MS_MAX
        && idle_empty_bytes < IDLE_BYTES_MAX
        && idle_after_kill_bytes < IDLE_BYTES_MAX;
    let figures = Figures {
        machine: Machine::look(scratch.path()),
        starts: args.starts,
        twins: args.twins,
        ready_empty_ms,
        ready_after_kill_ms,
        idle_empty_bytes,
        idle_after_kill_bytes,
        met,
    };
    println!("{figures}");
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    // A debug build shows only that it works.
    Ok(met || cfg!(debug_assertions))
}

/// Gives the node twins, through a gateway.
fn fill(spec: &NodeSpec, scratch: &Scratch, twins: u32) -> anyhow::Result<()> {
    let credentials = credentials(&spec.rest()?, "idle", "gateway", scratch.path(), 1)?;
    let credentials = credentials.into_iter().next().context("no gateway")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let gateway = Gateway::open(Options::new(spec.quic.to_string(), credentials, scratch.path().join("outbox")))?;
        let ids: Vec<TwinId> =
            (0..twins).map(|twin| TwinId::new(&format!("label-{twin}"))).collect::<Result<_, _>>()?;
        for ids in ids.chunks(BATCH) {
            let reports = ids.iter().map(|id| Report::new(id.clone(), document(DOCUMENT_BYTES, 1)));
            gateway.report_many(reports.collect()).await?;
        }
        gateway.drained().await?;
        gateway.shutdown().await;
        Ok(())
    })
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { machine, starts, twins, .. } = self;
        writeln!(f, "{machine}\nmedian (lowest .. highest) of {starts} starts; from spawn to ready line\n")?;
        writeln!(f, "{:<44} {:<28} target", "", "measured")?;
        writeln!(f, "{:<44} {:<28} < {READY_MS_MAX}", "ready on an empty directory, ms", self.ready_empty_ms)?;
        let name = format!("ready after kill -9 with {twins} twins, ms");
        writeln!(f, "{name:<44} {:<28} < {READY_MS_MAX}", self.ready_after_kill_ms)?;
        let megabytes = |bytes: f64| format!("{:.1}", bytes / 1e6);
        let target = megabytes(IDLE_BYTES_MAX);
        writeln!(
            f,
            "{:<44} {:<28} < {target}",
            "resident after 5 s idle, empty, MB",
            megabytes(self.idle_empty_bytes)
        )?;
        let name = format!("resident after 5 s idle, {twins} twins, MB");
        writeln!(f, "{name:<44} {:<28} < {target}", megabytes(self.idle_after_kill_bytes))?;
        write!(f, "{}", if self.met { "met" } else { "NOT MET" })
    }
}
