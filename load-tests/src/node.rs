//! The hidden subcommand `node`: what `twind dev` does, plus bugs on demand.

use std::io::{BufRead as _, Read as _, Write as _};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio::sync::watch;
use twin_node::telemetry::{self, Telemetry, TelemetryOptions};
use twin_node::{Node, NodeOptions, StateKey};

use crate::cli::NodeArgs;

/// The word on standard input that makes a node stop as an operator's signal would.
pub(crate) const STOP: &str = "stop";

/// What a sealed node is sealed with here: a measurement has no secrets.
const SEALED_WITH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// How often a leak leaks.
const LEAK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs a node until it is killed, told to [`STOP`], or until its standard input ends: it must not outlive whoever started it.
pub(crate) fn run(args: NodeArgs) -> anyhow::Result<()> {
    let (stop_sender, mut stop) = watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line == STOP {
                let _ = stop_sender.send(true);
            }
        }
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("twinmesh").build()?;
    runtime.block_on(async {
        let _telemetry = log_to_stderr()?;
        let mut options = NodeOptions::local(args.data_dir);
        options.http = args.http;
        options.quic = args.quic;
        options.cluster.planted = args.plant.map(Into::into);
        if args.sealed {
            options.state_key = Some(StateKey::from_text(SEALED_WITH).context("the key of the measurements")?);
        }
        if let Some(bytes_per_s) = args.leak_bytes_per_s {
            std::thread::spawn(move || leak(bytes_per_s));
        }
        let node = Node::start(options).await?;
        node.ready().await;
        let line =
            serde_json::json!({ "event": "ready", "http": node.http_url(), "quic": node.quic_addr().to_string() });
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("the ready line")?;
        drop(stdout);
        let failure = tokio::select! {
            failure = node.failed() => Some(failure),
            // The sender lives as long as the process.
            _ = stop.wait_for(|stop| *stop) => None,
        };
        if let Some(failure) = failure {
            return Err(anyhow!("the storage failed: {failure}"));
        }
        node.shutdown().await;
        Ok(())
    })
}

/// Takes memory and never gives it back, as a bug would: a soak must find it.
fn leak(bytes_per_s: u64) {
    let bytes = (bytes_per_s as f64 * LEAK_INTERVAL.as_secs_f64()) as usize;
    loop {
        // Ones, because zeros that nobody wrote take no memory.
        std::mem::forget(vec![1_u8; bytes]);
        std::thread::sleep(LEAK_INTERVAL);
    }
}

/// Logs what `RUST_LOG` says, or warnings.
pub(crate) fn log_to_stderr() -> anyhow::Result<Telemetry> {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".to_owned());
    Ok(telemetry::start(&TelemetryOptions { filter, ..TelemetryOptions::default() })?)
}

/// Exits when whoever holds the other end of the standard input is gone, however it went.
pub(crate) fn die_with_stdin() {
    std::thread::spawn(|| {
        let mut rest = Vec::new();
        // An error is an end as well.
        let _ = std::io::stdin().lock().read_to_end(&mut rest);
        std::process::exit(0);
    });
}
