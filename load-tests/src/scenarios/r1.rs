//! R1: warm linearizable reads.
//!
//! Through the SDK: ten gateways over 25,000 twins that are active, each with 4 calls of `read_all` under way that read 256 or 64 twins,
//! or with 64 of `get`, which read one. One view of 64 is decoded whole and compared to what was reported, of the others the version
//! is read. Through REST: `GET /twins/{id}` over
//! 32 kept-alive connections, one request after the other on each; then the same client and the same bytes against actix-web
//! answering from memory in a process of its own, and so on in turn.

use anyhow::Context as _;

use crate::baselines::ActixProcess;
use crate::bench::Bench;
use crate::document::Documents;
use crate::http::{HttpGets, get_request};
use crate::measure::{CpuUse, CpuWatch, Loaded, closed_loop};
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::DOCUMENT_BYTES;
use crate::reads::{CALLS_IN_FLIGHT, SINGLE_IN_FLIGHT, SdkReads};
use crate::stage::Stage;

/// Connections of the REST load.
const CONNECTIONS: usize = 32;
/// Twins of a call; the first is what the target is for.
const BATCHES: [usize; 3] = [256, 64, 1];
/// What the SDK's reads must reach.
const SDK_PER_S_MIN: f64 = 400_000.0;
/// What REST must reach of actix-web.
const OF_ACTIX_MIN: f64 = 0.5;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let stage = Stage::set(bench, 0, bench.plan.hot_per_gateway, &documents)?;
    let runtime = bench.runtime.handle().clone();
    runtime.block_on(stage.fleet.report_all())?;
    std::thread::sleep(bench.plan.settle);

    let dir = bench.directory("r1")?;
    let token = stage.rest.token().to_owned();
    let request = |addr| {
        let path = |device: &twin_core::ids::TwinId| format!("/api/v1/twins/{}", device.as_str());
        let members = stage.fleet.members.iter();
        members
            .flat_map(|member| member.devices.iter().take(64))
            .map(|device| get_request(addr, &path(device), &token))
            .collect::<Vec<_>>()
    };
    let http = stage.spec.http;
    let body = runtime.block_on(async {
        let mut client = HttpGets::connect(http, request(http)).await?;
        anyhow::Ok(client.get().await?.to_vec())
    })?;
    let actix = ActixProcess::start(&body, &dir.join("body"))?;

    let (mut sdk, mut rest, mut memory) = (BATCHES.map(|_| Vec::new()), Vec::new(), Vec::new());
    for repeat in 0..bench.plan.repeats {
        for (batch, into) in BATCHES.into_iter().zip(&mut sdk) {
            bench.doing(format!("reads of {batch} through the SDK, repeat {}", repeat + 1));
            into.push(watched(bench, stage.node()?.pid(), SdkReads::hot(&stage.fleet, batch))?);
        }
        for (pid, addr, into) in [(stage.node()?.pid(), http, &mut rest), (actix.pid(), actix.addr, &mut memory)] {
            bench.doing(format!("reads through HTTP, repeat {}", repeat + 1));
            let clients = runtime.block_on(async {
                let mut clients = Vec::new();
                for at in 0..CONNECTIONS {
                    let mut requests = request(addr);
                    let turn = at * requests.len() / CONNECTIONS;
                    requests.rotate_left(turn);
                    clients.push(HttpGets::connect(addr, requests).await?);
                }
                anyhow::Ok(clients)
            })?;
            into.push(watched(bench, pid, clients)?);
        }
    }
    let per_s = |runs: &[(Loaded, CpuUse)]| runs.iter().map(|run| run.0.per_s()).collect::<Vec<f64>>();
    let us = |runs: &[(Loaded, CpuUse)], of: fn(&CpuUse) -> f64| {
        runs.iter().map(|run| of(&run.1) * 1e6 / run.0.operations.max(1) as f64).collect::<Vec<f64>>()
    };
    let server: fn(&CpuUse) -> f64 = |used| used.pids_s.first().copied().unwrap_or_default();
    let client: fn(&CpuUse) -> f64 = |used| used.own_s;
    let mut put = |figure: Figure| bench.figures.push(figure);
    for (batch, runs) in BATCHES.into_iter().zip(&sdk) {
        let (what, calls) = match batch {
            1 => ("one at a time".to_owned(), SINGLE_IN_FLIGHT),
            _ => (format!("{batch} a call"), CALLS_IN_FLIGHT),
        };
        let figure = Figure::new("R1", format!("linearizable reads through the SDK, {what}"), "/s", per_s(runs))
            .note(format!("10 gateways, {calls} calls under way each"));
        put(if batch == BATCHES[0] { figure.target(Target::AtLeast(SDK_PER_S_MIN)) } else { figure });
        put(Figure::new("R1", format!("CPU of the node, {what}"), "us", us(runs, server)));
        put(Figure::new("R1", format!("CPU of the gateways, {what}"), "us", us(runs, client)));
    }
    put(Figure::new("R1", "REST / actix-web from memory", "x", ratios(&per_s(&rest), &per_s(&memory)))
        .target(Target::AtLeast(OF_ACTIX_MIN)));
    put(Figure::new("R1", "linearizable reads through REST", "/s", per_s(&rest)).share_of("actix-web", &per_s(&memory)));
    put(Figure::new("R1", "actix-web answering the same bytes from memory", "/s", per_s(&memory))
        .note(format!("{} bytes, {CONNECTIONS} connections", body.len())));
    put(Figure::new("R1", "CPU of the node, REST read", "us", us(&rest, server)));
    put(Figure::new("R1", "CPU of actix-web, the same", "us", us(&memory, server)));
    put(Figure::new("R1", "CPU of the HTTP client, against REST", "us", us(&rest, client)));
    put(Figure::new("R1", "CPU of the HTTP client, against actix-web", "us", us(&memory, client)));
    drop(actix);
    stage.end(bench)
}

/// A closed loop, with the CPU time that it took.
fn watched<C: crate::measure::Client>(
    bench: &mut Bench,
    pid: u32,
    clients: Vec<C>,
) -> anyhow::Result<(Loaded, CpuUse)> {
    let (mut watch, mut used) = (None, None);
    let mark = || match &watch {
        None => watch = CpuWatch::begin(&[pid]).ok(),
        Some(watch) => used = watch.end().ok(),
    };
    let runtime = bench.runtime.handle().clone();
    let (loaded, _) = runtime.block_on(closed_loop(clients, bench.plan.warm_up, bench.plan.slice, mark))?;
    let used = used.context("the CPU time")?;
    bench.saw(&used);
    Ok((loaded, used))
}
