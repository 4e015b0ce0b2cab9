//! A gateway in a process of its own, and the journal that it leaves.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use crate::audit::SITE;
use crate::audit::journal::JournalReader;
use crate::audit::worker::{Drained, device_id};
use crate::rest::Rest;

/// A gateway of the audit, running or killed.
pub(crate) struct GatewayProcess {
    name: String,
    dir: PathBuf,
    node: String,
    devices: u32,
    child: Option<Child>,
    said: Option<mpsc::Receiver<String>>,
    pub(crate) journal: JournalReader,
}

impl GatewayProcess {
    /// Registers a gateway and makes its folder.
    pub(crate) fn new(rest: &Rest, dir: &Path, name: &str, node: String, devices: u32) -> anyhow::Result<Self> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        rest.add_gateway(SITE, name, &dir.join("credentials.json"))?;
        let journal = JournalReader::new(dir.join("journal"), devices);
        Ok(Self { name: name.to_owned(), dir, node, devices, child: None, said: None, journal })
    }

    /// Ids of its devices, in the journal's order.
    pub(crate) fn device_ids(&self) -> impl Iterator<Item = String> {
        (0..self.devices).map(|device| device_id(&self.name, device))
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.dir.join("log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["gateway-worker", "--node", &self.node, "--prefix", &self.name])
            .args(["--devices", &self.devices.to_string()])
            .arg("--credentials")
            .arg(self.dir.join("credentials.json"))
            .arg("--state-dir")
            .arg(self.dir.join("outbox"))
            .arg("--journal")
            .arg(self.dir.join("journal"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().context("cannot start a gateway")?;
        let stdout = child.stdout.take().context("the gateway's stdout")?;
        let (sender, said) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody may listen any more.
                let _ = sender.send(line);
            }
        });
        self.child = Some(child);
        self.said = Some(said);
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("kill a gateway")?;
            child.wait()?;
        }
        Ok(())
    }

    /// An error if it ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            return Err(anyhow!(
                "gateway {} ended by itself ({status}); see {}",
                self.name,
                self.dir.join("log").display()
            ));
        }
        Ok(())
    }

    /// Tells it to report nothing more.
    pub(crate) fn begin_drain(&mut self) -> anyhow::Result<()> {
        let stdin =
            self.child.as_mut().and_then(|child| child.stdin.as_mut()).context("a gateway that does not run")?;
        stdin.write_all(b"drain\n").context("tell a gateway to drain")
    }

    /// Waits until its outbox is empty.
    pub(crate) fn drained(&mut self, timeout: Duration) -> anyhow::Result<Drained> {
        let said = self.said.as_ref().context("a gateway that does not run")?;
        let line = said.recv_timeout(timeout).map_err(|_| {
            anyhow!("gateway {} is not drained after {timeout:?}; see {}", self.name, self.dir.join("log").display())
        })?;
        self.journal.catch_up()?;
        serde_json::from_str(&line).with_context(|| format!("not what a worker says: {line}"))
    }
}

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        // On the way out nothing more can be done about a failure.
        let _ = self.kill();
    }
}
