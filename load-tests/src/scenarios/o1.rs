//! O1: what it costs that somebody watches.
//!
//! W1's closed loop on a node that nobody watches and on one with one observer over REST, in turn. The observer follows what is desired in the site, as a dashboard
//! of prices would: it hears of no report, but the node has an event for each, to keep it for a while and to look whether it is wanted.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bench::Bench;
use crate::document::Documents;
use crate::fleet::By;
use crate::http::get_request;
use crate::output::figure::ratios;
use crate::output::{Figure, Target};
use crate::plan::{BATCH, DOCUMENT_BYTES, GATEWAYS};
use crate::stage::{SITE, Stage};
use crate::write_load::{Slice, write_slice};

/// What must be left of the rate.
const LEFT_MIN: f64 = 0.8;

pub(super) fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let documents = Documents::prepare(DOCUMENT_BYTES)?;
    let stage = |bench: &mut Bench, what: &str| {
        bench.doing(what.to_owned());
        let spec = bench.node()?;
        Stage::on(bench, spec, GATEWAYS, bench.plan.hot_per_gateway, &documents)
    };
    // Two nodes, as one goes on keeping events for a while after its observer left.
    let quiet = stage(bench, "a node that nobody watches")?;
    let watched = stage(bench, "a node with an observer")?;
    let runtime = bench.runtime.handle().clone();
    let stream = runtime.block_on(observe(watched.spec.http, watched.rest.token()))?;
    let following = runtime.spawn(follow(stream));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for repeat in 0..bench.plan.repeats {
        bench.doing(format!("updates that nobody watches, repeat {}", repeat + 1));
        without.push(write_slice(bench, &quiet, BATCH, By::Documents, bench.plan.slice)?);
        bench.doing(format!("updates beside an observer, repeat {}", repeat + 1));
        with.push(write_slice(bench, &watched, BATCH, By::Documents, bench.plan.slice)?);
    }
    if following.is_finished() {
        runtime.block_on(following)??;
        bail!("the observation ended by itself");
    }
    following.abort();
    let per = |slices: &[Slice], figure: fn(&Slice) -> f64| slices.iter().map(figure).collect::<Vec<f64>>();
    let mut put = |figure: Figure| bench.figures.push(figure);
    let rates = (per(&without, Slice::updates_per_s), per(&with, Slice::updates_per_s));
    put(Figure::new("O1", "durable updates beside an observer / without", "x", ratios(&rates.1, &rates.0))
        .target(Target::AtLeast(LEFT_MIN)));
    put(Figure::new("O1", "durable updates that nobody watches", "/s", rates.0));
    put(Figure::new("O1", "durable updates beside an observer", "/s", rates.1));
    let cpu = (per(&without, Slice::node_us), per(&with, Slice::node_us));
    put(Figure::new("O1", "CPU of the node, nobody watches", "us/update", cpu.0.clone()));
    put(Figure::new("O1", "CPU of the node beside an observer", "us/update", cpu.1).share_of("nobody watches", &cpu.0));
    quiet.end(bench)?;
    watched.end(bench)
}

async fn observe(http: SocketAddr, token: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(http).await?;
    stream.write_all(&get_request(http, &format!("/api/v1/events?site={SITE}&path=/desired"), token)).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.context("no answer")?;
    if &head != b"HTTP/1.1 200" {
        bail!("the node answered {}", String::from_utf8_lossy(&head));
    }
    Ok(stream)
}

/// Reads on, for ever.
async fn follow(mut stream: TcpStream) -> anyhow::Result<()> {
    let mut input = vec![0; 64 * 1024];
    while stream.read(&mut input).await? > 0 {}
    bail!("the node ended the stream");
}
