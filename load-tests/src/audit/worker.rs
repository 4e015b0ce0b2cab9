//! A gateway process of the audit: some devices, each reporting an ever-rising counter as fast as it goes.
//!
//! A device has one `report` call under way at a time, so that a kill leaves at most one number in doubt: the next life begins
//! with the number after the last promise, and saying a number again changes nothing. Many acks are under way at once.

use std::io::{BufRead as _, Write as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use twin_core::ids::TwinId;
use twin_gateway::{Credentials, Gateway, Options, Receipt};

use crate::audit::journal::{Journal, JournalReader};
use crate::cli::WorkerArgs;
use crate::node::log_to_stderr;

/// Reports of a device that wait for their ack. Enough to have whole batches under way when the kill comes.
const WINDOW: usize = 64;

/// What a worker says when it was told to drain and has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Drained {
    /// Messages that the node refused for good.
    pub(crate) dead_letters: u64,
    /// Numbers that the node missed and the gateway had no more: acked, removed, and lost.
    pub(crate) numbers_lost: u64,
}

/// The id of a device, as worker and auditor know it.
pub(crate) fn device_id(prefix: &str, device: u32) -> String {
    format!("{prefix}-device-{device}")
}

/// Reports until told to drain by a line on stdin, then drains and says so on stdout. Ends when stdin ends.
pub(crate) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let (stop_sender, stop) = watch::channel(false);
    std::thread::spawn(move || {
        let mut lines = std::io::stdin().lock().lines();
        while let Some(Ok(_)) = lines.next() {
            let _ = stop_sender.send(true);
        }
        // Whoever started us has gone.
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let _telemetry = log_to_stderr()?;
        work(args, stop).await
    })
}

async fn work(args: &WorkerArgs, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    let mut before = JournalReader::new(args.journal.clone(), args.devices);
    before.catch_up()?;
    let journal = Arc::new(Journal::open(&args.journal)?);
    let credentials = Credentials::load(&args.credentials).context("credentials")?;
    let mut options = Options::new(&args.node, credentials, &args.state_dir);
    // Merged reports would be counted as missing.
    options.coalesce = false;
    options.wait_at_cap = true;
    let gateway = Gateway::open(options)?;
    let mut reporters = tokio::task::JoinSet::new();
    for (device, progress) in (0..).zip(before.devices()) {
        let twin = TwinId::new(&device_id(&args.prefix, device))?;
        let reporter = Reporter { gateway: gateway.clone(), journal: Arc::clone(&journal), device, twin };
        reporters.spawn(reporter.run(progress.promised + 1, stop.clone()));
    }
    while let Some(ended) = reporters.join_next().await {
        ended??;
    }
    gateway.drained().await?;
    let status = gateway.status();
    let drained = Drained { dead_letters: status.dead_letters, numbers_lost: status.counters.numbers_lost };
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", serde_json::to_string(&drained)?).and_then(|()| stdout.flush())?;
    Ok(())
}

struct Reporter {
    gateway: Gateway,
    journal: Arc<Journal>,
    device: u32,
    twin: TwinId,
}

impl Reporter {
    async fn run(self, first: u64, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let (sender, receiver) = mpsc::channel(WINDOW);
        let acks = tokio::spawn(note_acks(Arc::clone(&self.journal), self.device, receiver));
        for number in first.. {
            if *stop.borrow() {
                break;
            }
            let receipt = self.gateway.report(&self.twin, &serde_json::json!({ "counter": number })).await?;
            self.journal.promised(self.device, number)?;
            // Ends only with an error, which `acks` tells.
            if sender.send((number, receipt)).await.is_err() {
                break;
            }
        }
        drop(sender);
        acks.await?
    }
}

async fn note_acks(
    journal: Arc<Journal>,
    device: u32,
    mut receipts: mpsc::Receiver<(u64, Receipt)>,
) -> anyhow::Result<()> {
    while let Some((number, receipt)) = receipts.recv().await {
        match receipt.acked().await {
            Ok(()) => journal.acked(device, number)?,
            Err(error) => {
                journal.refused(device, number)?;
                eprintln!("device {device}, report {number}: {error}");
                if matches!(error, twin_gateway::NotAcked::ShutDown) {
                    return Err(anyhow!("the gateway shut down by itself"));
                }
            }
        }
    }
    Ok(())
}
