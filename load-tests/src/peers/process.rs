//! A peer's process: found, started, waited for, and killed when dropped.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::net::TcpStream;

use crate::peers::Kind;

/// How long a start may take.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Where servers are that are not in everybody's PATH.
const MORE_PATHS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// A child that does not outlive us.
#[derive(Debug)]
pub(crate) struct PeerProcess {
    child: Child,
}

impl PeerProcess {
    /// Starts it and waits until something listens at `addr`. What it says goes to `log` in `dir`.
    pub(crate) async fn start(command: &mut Command, dir: &Path, addr: SocketAddr) -> anyhow::Result<Self> {
        let log = dir.join("log");
        let file = File::create(&log)?;
        command.current_dir(dir).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let mut process = Self { child };
        let begun = Instant::now();
        while TcpStream::connect(addr).await.is_err() {
            let ended = process.child.try_wait()?;
            if ended.is_some() || begun.elapsed() > START_TIMEOUT {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                bail!("{} does not serve at {addr} ({ended:?}): {said}", command.get_program().display());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for PeerProcess {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port on loopback that was free a moment ago: peers do not tell which one they got.
pub(crate) fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The path of a program, if it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(MORE_PATHS.iter().map(PathBuf::from));
    directories.map(|directory| directory.join(program)).find(|file| file.is_file())
}

/// What it says its version is.
pub(crate) fn version(kind: Kind, program: &Path) -> String {
    let flag = if kind == Kind::Mosquitto { "-h" } else { "--version" };
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    version_in(&text).unwrap_or("unknown version").to_owned()
}

/// The first word that looks like one: digits with dots.
fn version_in(text: &str) -> Option<&str> {
    let words = text.split_whitespace().map(|word| word.trim_start_matches("v=").trim_start_matches('v'));
    words.into_iter().find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_the_programs_say() {
        assert_eq!(version_in("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0"), Some("7.0.15"));
        assert_eq!(version_in("nats-server: v2.9.10\n"), Some("2.9.10"));
        assert_eq!(version_in("etcd Version: 3.4.23\nGit SHA: x"), Some("3.4.23"));
        assert_eq!(version_in("mosquitto version 2.0.11\n\nmosquitto is an MQTT v5.0/v3.1.1 broker"), Some("2.0.11"));
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_with_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no such option"]);
        let error = PeerProcess::start(&mut command, dir.path(), free_addr().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("no such option"), "{error}");
    }
}
