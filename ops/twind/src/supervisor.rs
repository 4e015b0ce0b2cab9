//! What a supervisor is told, by systemd's protocol: datagrams to the socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable nothing is told and nothing is different.

use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use twin_node::Node;

/// How long a supervisor that reads nothing may hold a message up. It is told again, or it is as if it had not been told.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// Pings in the time after which a supervisor without one gives up: one may be late without harm.
const PINGS_PER_TIMEOUT: u32 = 3;

/// How often a supervisor hears that a start goes on.
const START_PING: Duration = Duration::from_secs(10);

/// The supervisor, if there is one.
#[derive(Debug)]
pub(crate) struct Supervisor {
    socket: Option<(UnixDatagram, SocketAddr)>,
    ping_every: Option<Duration>,
}

impl Supervisor {
    /// As the environment says. One that cannot be told anything is worth a word, not a refusal to start.
    pub(crate) fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let socket = variable("NOTIFY_SOCKET").and_then(|name| {
            let opened = address(name.as_bytes()).and_then(|address| {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(SEND_TIMEOUT))?;
                Ok((socket, address))
            });
            opened
                .inspect_err(|error| tracing::warn!(?name, %error, "NOTIFY_SOCKET cannot be used: nobody is told"))
                .ok()
        });
        let text = |name| variable(name).and_then(|value| value.into_string().ok());
        let timeout = watchdog(text("WATCHDOG_USEC").as_deref(), text("WATCHDOG_PID").as_deref(), std::process::id());
        Self { ping_every: timeout.filter(|_| socket.is_some()).map(|timeout| timeout / PINGS_PER_TIMEOUT), socket }
    }

    /// The node serves and would commit a write.
    pub(crate) fn ready(&self, node: &Node) {
        self.tell(&format!("READY=1\nSTATUS=REST at {}, gateways at {}", node.http_url(), node.quic_addr()));
    }

    /// Asks for patience for as long as it is polled: a start that applies a long log again, or waits for room on the disk, is not stuck,
    /// and one that is begun anew has to do all of it again. Never ends.
    pub(crate) async fn starting(&self) -> std::convert::Infallible {
        // A usual start is over before the first one.
        let first = tokio::time::Instant::now() + START_PING;
        let mut tick = tokio::time::interval_at(first, START_PING);
        loop {
            tick.tick().await;
            let more_us = (START_PING * PINGS_PER_TIMEOUT).as_micros();
            self.tell(&format!("EXTEND_TIMEOUT_USEC={more_us}\nSTATUS=starting"));
        }
    }

    /// The node was told to stop, or must.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Pings for as long as it is polled and the node gets on: a runtime that does not poll, or a commit that does not end, is a
    /// ping that does not come. Never ends.
    ///
    /// A commit that waits for room on the disk is no reason for a restart, which makes no room.
    pub(crate) async fn watch(&self, node: &Node) {
        let Some(every) = self.ping_every.filter(|every| !every.is_zero()) else { return std::future::pending().await };
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let progress = node.progress();
            tokio::pin!(progress);
            loop {
                // Waited for however long it takes: a slow disk is slow, a stuck one never ends.
                tokio::select! {
                    () = &mut progress => break,
                    _ = tick.tick() => {
                        if node.disk_is_full() {
                            break;
                        }
                        tracing::error!(waited_ms = every.as_millis() as u64, "no commit: the watchdog is not pinged");
                    }
                }
            }
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::warn!(%error, state, "the supervisor could not be told");
        }
    }
}

/// Where the socket is: a path, or after an `@` a name in Linux' abstract space.
fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name {
        [b'/', ..] => SocketAddr::from_pathname(Path::new(std::ffi::OsStr::from_bytes(name))),
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] if !rest.is_empty() => {
            <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(rest)
        }
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, "it is neither an absolute path nor @ and a name")),
    }
}

/// After how long without a ping the supervisor gives up; `None`: it does not, or another process is meant.
fn watchdog(usec: Option<&str>, pid: Option<&str>, own_pid: u32) -> Option<Duration> {
    let is_ours = pid.is_none_or(|pid| pid.parse() == Ok(own_pid));
    let usec = usec?.parse().ok().filter(|usec| *usec > 0)?;
    is_ours.then(|| Duration::from_micros(usec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_ours_if_it_names_us_or_nobody() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog(Some("1000000"), None, 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("7"), 7), second);
        assert_eq!(watchdog(Some("1000000"), Some("8"), 7), None);
        for usec in ["", "0", "-1", "soon"] {
            assert_eq!(watchdog(Some(usec), None, 7), None, "{usec:?}");
        }
        assert_eq!(watchdog(None, None, 7), None);
    }

    #[test]
    fn a_socket_has_a_path_or_an_abstract_name() {
        assert!(address(b"/run/systemd/notify").is_ok());
        assert!(address(b"@name").is_ok());
        for name in [&b""[..], b"@", b"run/notify", b"vsock:2:1234", b"/a\0b"] {
            assert!(address(name).is_err(), "{name:?}");
        }
    }
}
