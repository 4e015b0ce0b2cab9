//! `twind dev`: one node, until SIGTERM or Ctrl-C.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use twin_node::{CertificateFiles, Node, NodeOptions, telemetry};

use crate::cli::DevArgs;
use crate::supervisor::Supervisor;

/// How long a graceful stop may take before the process gives up on it. Nothing that was acknowledged depends on the stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// Signals this soon after the first one say the same.
const ECHO: Duration = Duration::from_secs(2);

/// What stops a node.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wanted(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Somebody insists: `timeout` and the like tell a process group and its leader in one breath, which is one wish.
    async fn wanted_again(&mut self) -> &'static str {
        let echoes = async {
            loop {
                self.wanted().await;
            }
        };
        // The echoes never end by themselves.
        let _: Result<(), _> = tokio::time::timeout(ECHO, echoes).await;
        self.wanted().await
    }
}

/// Runs the node.
pub(crate) async fn run(args: DevArgs) -> anyhow::Result<()> {
    let mut stop = Stop::listen().context("cannot listen for signals")?;
    let telemetry = telemetry::start(&args.telemetry.into())?;
    let mut options = NodeOptions::local(args.data_dir);
    options.begin_empty = args.begin_empty;
    options.new_ca = args.new_ca;
    options.state_key = args.state_key.of_a_node()?;
    options.http = args.http;
    options.quic = args.quic;
    options.tls_names = args.tls_name;
    options.rest_certificate = args.tls_cert.zip(args.tls_key).map(|(chain, key)| CertificateFiles { chain, key });
    options.cluster.node_name = args.node_name;
    let supervisor = Supervisor::from_environment();
    let outcome = serve(options, &mut stop, &supervisor).await;
    telemetry.shutdown().await;
    outcome
}

async fn serve(options: NodeOptions, stop: &mut Stop, supervisor: &Supervisor) -> anyhow::Result<()> {
    // Listened for before the node is there: unheard, the signal would end the process.
    let hangup = signal(SignalKind::hangup()).context("cannot listen for signals")?;
    let started = async {
        let node = Node::start(options).await?;
        node.ready().await;
        Ok::<_, twin_node::NodeError>(node)
    };
    let node = tokio::select! {
        node = started => node?,
        never = supervisor.starting() => match never {},
        // Stopped before it was ready: nobody was promised anything.
        _ = stop.wanted() => return Ok(()),
    };
    announce(&node);
    supervisor.ready(&node);
    let outcome = tokio::select! {
        signal = stop.wanted() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        failure = node.failed() => Err(anyhow!("the storage failed, so the node stops: {failure}")),
        () = supervisor.watch(&node) => Ok(()),
        never = reload_on_hangup(hangup, &node) => match never {},
    };
    supervisor.stopping();
    let failure = node.failure();
    tokio::select! {
        stopped = tokio::time::timeout(STOP_TIMEOUT, node.shutdown()) => {
            stopped.map_err(|_| anyhow!("the node did not stop within {} s", STOP_TIMEOUT.as_secs()))?;
        }
        signal = stop.wanted_again() => return Err(anyhow!("told to stop again ({signal}) while stopping; what was acknowledged is kept")),
    }
    outcome?;
    // A full disk is no failure of a stop: the log has everything.
    match &*failure.borrow() {
        Some(failure) if !failure.no_room => Err(anyhow!("the storage failed while the node stopped: {failure}")),
        _ => Ok(()),
    }
}

/// Reads the certificate files again whenever told to. Bad ones are said to be bad, and the node goes on with those it has.
async fn reload_on_hangup(mut hangup: Signal, node: &Node) -> std::convert::Infallible {
    loop {
        if hangup.recv().await.is_none() {
            return std::future::pending().await;
        }
        match node.reload_certificates("signal").await {
            Ok(now) => tracing::info!(
                quic = now.quic_sha256,
                rest = now.rest_sha256,
                ca_changed = now.ca_changed,
                "certificates reloaded"
            ),
            Err(error) => tracing::error!(%error, "the certificates were not reloaded"),
        }
    }
}

/// The one line on stdout.
fn announce(node: &Node) {
    let line = serde_json::json!({ "event": "ready", "http": node.http_url(), "quic": node.quic_addr().to_string() });
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        // Whoever started us does not listen; the node is of use all the same.
        tracing::warn!(%error, "the ready line could not be written");
    }
}
