//! E1: what sealing the disk (`--encrypt-state`) costs.
//!
//! Two nodes that differ in it only, each with ten gateways of 2,500 hot devices; W1's closed loop on the one and on the other in turn, while the
//! other has nothing to do. Bytes written are what the node's process gave to the disk, by the kernel's count; the files are those of
//! nodes that were stopped.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES, GATEWAYS};
use crate::stage::Stage;
use crate::write_load::{Slice, write_slice};

/// What must be left of the rate: the work is a few microseconds an update, and the disk is the same.
const LEFT_MIN: f64 = 0.7;

/// One of the two nodes, and what it did.
struct Side {
    name: &'static str,
    stage: Stage,
    slices: Vec<Slice>,
}

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let mut sides = [side(bench, "plain", false, &documents)?, side(bench, "sealed", true, &documents)?];
    for repeat in 0..bench.plan.repeats {
        for side in &mut sides {
            bench.doing(format!("updates, {}, repeat {}", side.name, repeat + 1));
            side.slices.push(write_slice(bench, &side.stage, BATCH, By::Documents, bench.plan.slice)?);
        }
    }
    let mut files = Vec::new();
    for Side { name, stage, slices } in sides {
        let data_dir = stage.spec.data_dir.clone();
        stage.end(bench)?;
        files.push((name, slices, bytes_of(&data_dir.join("state.redb"))?));
    }
    let [(_, plain, plain_file), (_, sealed, sealed_file)] =
        <[_; 2]>::try_from(files).ok().context("two nodes were measured")?;
    let per = |slices: &[Slice], figure: fn(&Slice) -> f64| slices.iter().map(figure).collect::<Vec<f64>>();
    let mut put = |figure: Figure| bench.figures.push(figure);
    let (without, with) = (per(&plain, Slice::updates_per_s), per(&sealed, Slice::updates_per_s));
    put(Figure::new("E1", "durable updates, sealed / plain", "x", ratios(&with, &without))
        .target(Target::AtLeast(LEFT_MIN)));
    put(Figure::new("E1", "durable updates, plain", "/s", without));
    put(Figure::new("E1", "durable updates, sealed", "/s", with));
    for (name, unit, figure) in [
        ("CPU of the node", "us/update", Slice::node_us as fn(&Slice) -> f64),
        ("written to the disk", "B/update", Slice::written_per_update),
        ("ack in the full closed loop, p50", "ms", Slice::ack_p50_ms),
    ] {
        let (without, with) = (per(&plain, figure), per(&sealed, figure));
        put(Figure::new("E1", format!("{name}, plain"), unit, without.clone()));
        put(Figure::new("E1", format!("{name}, sealed"), unit, with).share_of("plain", &without));
    }
    let twins = f64::from(bench.plan.hot_per_gateway) * f64::from(GATEWAYS);
    let mut put = |figure: Figure| bench.figures.push(figure);
    for (name, bytes) in [("plain", plain_file), ("sealed", sealed_file)] {
        let name = format!("state file a twin, {name}");
        put(Figure::once("E1", name, "B", bytes / twins).note("of a stopped node; a file grows in steps"));
    }
    Ok(())
}

fn side(bench: &mut Bench, name: &'static str, sealed: bool, documents: &Arc<Documents>) -> anyhow::Result<Side> {
    let mut spec = bench.node()?;
    spec.sealed = sealed;
    bench.doing(format!("a {name} node"));
    let stage = Stage::on(bench, spec, GATEWAYS, bench.plan.hot_per_gateway, documents)?;
    Ok(Side { name, stage, slices: Vec::new() })
}

fn bytes_of(file: &Path) -> anyhow::Result<f64> {
    Ok(std::fs::metadata(file).with_context(|| format!("the size of {}", file.display()))?.len() as f64)
}
