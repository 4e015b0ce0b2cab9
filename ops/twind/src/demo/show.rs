//! The demo from start to end.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use twin_core::clock::{Clock, SystemClock};
use twin_core::ids::TwinId;
use twin_node::telemetry::{self, TelemetryOptions};
use twin_node::{Node, NodeError, NodeOptions};
use twin_sim::store::{Kind, Latencies, Store, StoreOptions};
use twin_sim::traces::trace_batch;

use super::args::DemoArgs;
use super::convergence::{self, Convergence};
use super::intro::Intro;
use super::picture::{self, Moment, Paint};
use super::prices;
use super::rest::RestClient;
use super::screen::Screen;
use super::setup;
use super::sparkline::Sparkline;
use super::workplace::{Workplace, resident_bytes};

/// Where the REST is unless the port is taken.
const HTTP_USUAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8080);
/// Between two pictures. Not in step with the gateways, which report twice a second: the pictures would all show the same one in
/// the middle of its commit, as if its messages were stuck.
const FRAME: Duration = Duration::from_millis(470);
/// Blocks in the line of rates, one a frame.
const SPARKS: usize = 40;
/// Rates and latencies are those of the last so many frames: acks come in bursts.
const SMOOTH_FRAMES: usize = 4;
/// Cap of a gateway's outbox: ten of them on one disk, for a demo.
const OUTBOX_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Runs the demo until Ctrl-C, SIGTERM or its time is over.
pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<()> {
    let mut stop = Stop::listen(args.seconds)?;
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "error".to_owned());
    let mut options = TelemetryOptions { filter, ..TelemetryOptions::default() };
    options.otlp_endpoint = args.otlp_endpoint.clone().filter(|endpoint| !endpoint.is_empty());
    options.sample_ratio = args.trace_ratio;
    let telemetry = telemetry::start(&options)?;
    let workplace = Workplace::new(args.data_dir.clone())?;
    let (node, other_port) = start_node(&args, &workplace).await?;
    let outcome = tokio::select! {
        outcome = show(&args, &workplace, &node, other_port, &mut stop) => outcome,
        failure = node.failed() => Err(anyhow::anyhow!("the storage failed: {failure}")),
    };
    node.shutdown().await;
    telemetry.shutdown().await;
    outcome
}

async fn start_node(args: &DemoArgs, workplace: &Workplace) -> anyhow::Result<(Node, bool)> {
    let mut options = NodeOptions::local(workplace.path());
    options.http = args.http.unwrap_or(HTTP_USUAL);
    if let Some(quic) = args.quic {
        options.quic = quic;
    }
    let (node, other_port) = match Node::start(options.clone()).await {
        Err(NodeError::Http { .. }) if args.http.is_none() => {
            options.http.set_port(0);
            (Node::start(options).await?, true)
        }
        node => (node?, false),
    };
    node.ready().await;
    Ok((node, other_port))
}

async fn show(
    args: &DemoArgs,
    workplace: &Workplace,
    node: &Node,
    other_port: bool,
    stop: &mut Stop,
) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let rest = RestClient::new(node.http_url(), node.admin_token(), &node.ca_pem())?;
    let (asking, folder, gateways) = (rest.clone(), workplace.gateways(), args.gateways);
    let credentials = tokio::task::spawn_blocking(move || setup::prepare(&asking, &folder, gateways)).await??;
    let (listening, its_clock) = (rest.clone(), Arc::clone(&clock));
    let convergence = tokio::task::spawn_blocking(move || convergence::listen(&listening, its_clock)).await??;

    let mut screen = Screen::new();
    let intro = Intro {
        http_url: node.http_url(),
        quic: node.quic_addr(),
        data_dir: workplace.path(),
        temporary: workplace.is_temporary(),
        gateways: credentials.len(),
        devices: args.devices as usize,
        other_port,
        tls: node.http_url().starts_with("https"),
    };
    screen.write(&intro.text(Paint(screen.colours())));

    let mut store = Store::start(StoreOptions {
        node: node.quic_addr().to_string(),
        gateways: credentials,
        devices: args.devices as usize,
        reports_per_s: f64::from(args.rate.unwrap_or(args.devices)),
        state_dir: workplace.gateways(),
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        seed: args.seed,
        trace_batch: args.otlp_endpoint.is_some().then(trace_batch),
        clock: Arc::clone(&clock),
    })?;
    let labels: Vec<TwinId> = store.devices(Kind::Label).cloned().collect();
    let steering = CancellationToken::new();
    let steered = tokio::spawn(prices::run(rest, labels, args.seed, steering.clone()));
    let begun = clock.monotonic();
    let mut show = Show {
        node,
        workplace,
        convergence: &convergence,
        clock: &*clock,
        begun,
        before: VecDeque::new(),
        rates: Sparkline::new(SPARKS),
        latencies: Latencies::default(),
        frames: 0,
    };
    let mut frame = tokio::time::interval(FRAME);
    frame.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    frame.tick().await;
    stop.begin();
    loop {
        tokio::select! {
            _ = frame.tick() => {
                let moment = show.moment(&store);
                let paint = Paint(screen.colours());
                screen.show(moment.up, || picture::picture(&moment, paint), || picture::line(&moment));
            }
            () = stop.wanted() => break,
        }
    }
    screen.finish();
    steering.cancel();
    let lasted = clock.monotonic().saturating_sub(begun);
    // Only what was acked within the time counts for the rate.
    let (view, latencies) = (store.view(), store.latencies());
    steered.await.context("the price changes died")?;
    store.shutdown().await;
    let summary = picture::summary(lasted, &view, latencies, &convergence.lock().tally());
    screen.write(&format!("{summary}\n"));
    Ok(())
}

/// Takes the figures of each frame.
struct Show<'a> {
    node: &'a Node,
    workplace: &'a Workplace,
    convergence: &'a Mutex<Convergence>,
    clock: &'a dyn Clock,
    begun: Duration,
    /// Time, acked and entries at the last frames, oldest first.
    before: VecDeque<(Duration, u64, u64)>,
    rates: Sparkline,
    latencies: Latencies,
    frames: usize,
}

impl Show<'_> {
    fn moment(&mut self, store: &Store) -> Moment {
        let now = self.clock.monotonic();
        let (view, stats) = (store.view(), self.node.cluster().stats());
        let (at, acked, entries) = self.before.front().copied().unwrap_or((self.begun, 0, 0));
        self.before.push_back((now, view.acked, stats.entries));
        if self.before.len() > SMOOTH_FRAMES {
            self.before.pop_front();
        }
        if self.frames.is_multiple_of(SMOOTH_FRAMES) || self.latencies.count == 0 {
            self.latencies = store.latencies_lately();
        }
        self.frames += 1;
        let passed_s = now.saturating_sub(at).as_secs_f64().max(0.001);
        let rate = view.acked.saturating_sub(acked) as f64 / passed_s;
        self.rates.push(rate);
        let (log_bytes, state_bytes) = self.workplace.storage_bytes();
        Moment {
            up: now.saturating_sub(self.begun),
            store: view,
            rate,
            rates: self.rates.clone(),
            latencies: self.latencies,
            tally: self.convergence.lock().tally(),
            entries_per_s: stats.entries.saturating_sub(entries) as f64 / passed_s,
            grains: stats.grains_active,
            log_bytes,
            state_bytes,
            memory_bytes: resident_bytes(),
        }
    }
}

/// What ends the demo.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    seconds: Option<u64>,
    timer: Option<std::pin::Pin<Box<tokio::time::Sleep>>>,
}

impl Stop {
    fn listen(seconds: Option<u64>) -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            seconds,
            timer: None,
        })
    }

    /// The time runs from here.
    fn begin(&mut self) {
        let after = |seconds| tokio::time::Instant::now() + Duration::from_secs(seconds);
        self.timer = self.seconds.map(|seconds| Box::pin(tokio::time::sleep_until(after(seconds))));
    }

    async fn wanted(&mut self) {
        let timer = async {
            match self.timer.as_mut() {
                Some(timer) => timer.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = timer => {}
        }
    }
}
