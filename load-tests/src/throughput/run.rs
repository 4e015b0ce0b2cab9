//! The run of a throughput measurement.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use indicatif::{ProgressBar, ProgressStyle};
use twin_gateway::Credentials;

use crate::cli::ThroughputArgs;
use crate::disk::RawAppends;
use crate::machine::Machine;
use crate::node_process::{NodeProcess, NodeSpec};
use crate::rest::Rest;
use crate::scratch::Scratch;
use crate::throughput::SITE;
use crate::throughput::figures::Figures;
use crate::throughput::fleet::{Fleet, Shape};
use crate::throughput::slice::measure;

/// Measures, prints a table, and writes the JSON file if asked.
pub(crate) fn run(args: &ThroughputArgs) -> anyhow::Result<()> {
    let scratch = Scratch::new(args.dir.as_deref())?;
    let mut spec = NodeSpec::new(args.twind.clone(), scratch.path().join("node"));
    let node = spec.start()?;
    let rest = spec.rest()?;
    let credentials = fleet_credentials(&rest, SITE, scratch.path(), args.gateways)?;
    let machine = Machine::look(scratch.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures =
        runtime.block_on(load(args, &node, &rest, &spec.quic.to_string(), credentials, scratch.path(), machine))?;
    println!("{figures}");
    if let Some(file) = &args.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// An open site with this many gateways, and their credentials.
pub(crate) fn fleet_credentials(
    rest: &Rest,
    site: &str,
    dir: &Path,
    gateways: u32,
) -> anyhow::Result<Vec<Credentials>> {
    rest.open_site(site)?;
    let credentials = (0..gateways).map(|number| {
        let file = dir.join(format!("gateway-{number}.json"));
        rest.add_gateway(site, &format!("gateway-{number}"), &file)?;
        Credentials::load(&file).context("credentials")
    });
    credentials.collect()
}

async fn load(
    args: &ThroughputArgs,
    node: &NodeProcess,
    rest: &Rest,
    quic: &str,
    credentials: Vec<Credentials>,
    dir: &Path,
    machine: Machine,
) -> anyhow::Result<Figures> {
    let shape = Shape {
        devices: args.devices,
        in_flight: args.in_flight,
        batch: args.batch,
        size_bytes: args.bytes as usize,
        documents: args.documents,
    };
    let mut fleet = Fleet::open(quic, credentials, dir, shape).await?;
    let mut baselines = RawAppends::create(&dir.join("raw.redb"))?;
    let lasting = Duration::from_secs_f64(args.seconds / f64::from(args.slices));
    let bar = ProgressBar::new(u64::from(args.slices));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} slice {pos}/{len}, {elapsed}, {msg} updates acked") {
        bar.set_style(style);
    }
    let mut slices = Vec::new();
    for _ in 0..args.slices {
        let tick = |acked: u64| bar.set_message(acked.to_string());
        slices.push(measure(&mut fleet, node, rest, lasting, &mut baselines, dir, tick).await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    let dead_letters = fleet.dead_letters();
    fleet.shutdown().await;
    if dead_letters > 0 {
        bail!("{dead_letters} updates were refused for good: the figures would be of something else");
    }
    Figures::of(machine, &slices)
}
