//! A node in a process of its own: started, timed, killed and started again on the same directory and ports.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use crate::cli::Plant;
use crate::node::STOP;
use crate::rest::Rest;

/// How long a start may take before it counts as hanging; a debug build on a busy machine needs seconds.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a graceful stop may take: sessions that end, and a last checkpoint.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// How a node is started.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpec {
    /// A `twind` to use; none: this binary's own `node`.
    pub(crate) twind: Option<PathBuf>,
    /// Its data directory.
    pub(crate) data_dir: PathBuf,
    /// Where its log goes.
    pub(crate) log: PathBuf,
    /// Addresses; port 0 at the first start.
    pub(crate) http: SocketAddr,
    /// Likewise.
    pub(crate) quic: SocketAddr,
    /// The bug it is given.
    pub(crate) plant: Option<Plant>,
    /// Is what it writes sealed?
    pub(crate) sealed: bool,
    /// What it leaks, likewise as a bug.
    pub(crate) leak_bytes_per_s: Option<u64>,
}

impl NodeSpec {
    /// On loopback, with any ports.
    pub(crate) fn new(twind: Option<PathBuf>, data_dir: PathBuf) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let log = data_dir.with_extension("log");
        Self { twind, data_dir, log, http: any, quic: any, plant: None, sealed: false, leak_bytes_per_s: None }
    }

    /// Spawns it and waits until it is ready. Afterwards the spec names the ports it got, so that it starts on them again.
    pub(crate) fn start(&mut self) -> anyhow::Result<NodeProcess> {
        let (program, subcommand) = match &self.twind {
            Some(twind) => (twind.clone(), "dev"),
            None => (std::env::current_exe()?, "node"),
        };
        let mut command = Command::new(program);
        command.arg(subcommand);
        command.arg("--data-dir").arg(&self.data_dir);
        command.arg("--http").arg(self.http.to_string()).arg("--quic").arg(self.quic.to_string());
        if self.twind.is_some() && (self.plant.is_some() || self.sealed || self.leak_bytes_per_s.is_some()) {
            bail!("only this binary's own node can be given a bug or a key, not twind");
        }
        if let Some(plant) = self.plant {
            command.arg("--plant").arg(plant.name());
        }
        if self.sealed {
            command.arg("--sealed");
        }
        if let Some(bytes_per_s) = self.leak_bytes_per_s {
            command.arg("--leak-bytes-per-s").arg(bytes_per_s.to_string());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log).context("the node's log")?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let spawned_at = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("the node's stdout")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Whoever waited for the first line has gone after it.
                let _ = sender.send((line, Instant::now()));
            }
        });
        // Dropping it on the way out kills the child.
        let mut node = NodeProcess { child, ready_after: Duration::ZERO };
        let (line, ready_at) = receiver
            .recv_timeout(READY_TIMEOUT)
            .map_err(|_| anyhow!("the node is not ready after {READY_TIMEOUT:?}; see {}", self.log.display()))?;
        let line: serde_json::Value =
            serde_json::from_str(&line).with_context(|| format!("not a ready line: {line}"))?;
        let field =
            |name: &str| line[name].as_str().map(str::to_owned).with_context(|| format!("no {name:?} in {line}"));
        node.ready_after = ready_at - spawned_at;
        self.quic = field("quic")?.parse()?;
        self.http = field("http")?.trim_start_matches("http://").parse()?;
        Ok(node)
    }

    /// The REST of the node that was started.
    pub(crate) fn rest(&self) -> anyhow::Result<Rest> {
        let token = std::fs::read_to_string(self.data_dir.join("admin.token")).context("the node's admin token")?;
        Ok(Rest::new(format!("http://{}", self.http), token.trim()))
    }
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    child: Child,
    ready_after: Duration,
}

impl NodeProcess {
    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// From the spawn to the ready line.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Whether it still runs; if not, it died by itself.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Lets it stop as an operator would, and waits until it has: its last checkpoint is written. This binary's own node only.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let mut stdin = self.child.stdin.take().context("the node's stdin")?;
        writeln!(stdin, "{STOP}").context("telling the node to stop")?;
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            match self.child.try_wait().context("wait for the stopping node")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the node ended with {status} when it was told to stop"),
                None if Instant::now() > deadline => bail!("the node does not stop within {STOP_TIMEOUT:?}"),
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }

    /// kill -9, and waits until it is gone.
    pub(crate) fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill().context("kill the node")?;
        self.child.wait().context("wait for the killed node")?;
        Ok(())
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
