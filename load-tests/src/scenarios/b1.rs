//! B1: bytes of frames for each reported update of one number.
//!
//! One gateway reports `{"temperature": t}` of each of its devices in turn, in calls of 256, until ids and paths are interned;
//! then the node's own count of frame bytes is compared before and after as many again. A float takes 9 bytes of MessagePack;
//! what is above them is ours.

use anyhow::Context as _;
use twin_core::value::{Members, Value};
use twin_gateway::Report;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::Fleet;
use crate::output::{Figure, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES};
use crate::stage::Stage;

/// MessagePack's float: a tag and 8 bytes.
const VALUE_BYTES: f64 = 9.0;
/// Bytes that an update may take besides.
const ABOVE_MAX: f64 = 24.0;
/// Times that each device reports before and while it is counted.
const ROUNDS: u64 = 4;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let stage = Stage::set(bench, 0, bench.plan.hot_per_gateway, &documents)?;
    let runtime = bench.runtime.handle().clone();
    bench.doing("numbers");
    runtime.block_on(report_numbers(&stage.fleet, 0))?;
    let before = stage.rest.metrics()?;
    runtime.block_on(report_numbers(&stage.fleet, ROUNDS))?;
    let after = stage.rest.metrics()?;
    let rise = |name: &str| after.sum(name) - before.sum(name);
    let updates = rise("twinmesh_messages_total");
    let bytes = rise("twinmesh_frame_bytes_received_total") / updates.max(1.0);
    bench.figures.push(
        Figure::once("B1", "bytes of frames per update of a number, above its own 9", "B", bytes - VALUE_BYTES)
            .target(Target::AtMost(ABOVE_MAX))
            .note(format!("{updates} updates, {:.1} a batch", updates / rise("twinmesh_batches_total").max(1.0))),
    );
    stage.end(bench)
}

async fn report_numbers(fleet: &Fleet, from: u64) -> anyhow::Result<()> {
    let member = fleet.members.first().context("no gateway")?;
    for round in from..from + ROUNDS {
        let value = Value::from(18.5 + round as f64 / 8.0);
        for devices in member.devices.chunks(BATCH as usize) {
            let report = |device: &twin_core::ids::TwinId| {
                let patch = Members::from([("temperature".into(), value.clone())]);
                Report::new(device.clone(), Value::Object(patch))
            };
            member.gateway.report_many(devices.iter().map(report).collect()).await?;
        }
    }
    fleet.drained().await
}
