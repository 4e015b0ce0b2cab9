//! Frames sent over QUIC and echoed, with our TLS and our limits but nothing behind them.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use quinn::{Connection, Endpoint, RecvStream, SendStream};
use twin_transports::endpoint::{client_endpoint, quic_client_config, server_endpoint};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

use crate::measure::{Client, Loaded, closed_loop};

/// Frames of a connection under way, as batches of a gateway are.
const WINDOW: usize = 8;

/// A server that echoes, in this process, and how to reach it.
pub(crate) struct QuicEcho {
    server: Endpoint,
    clients: Endpoint,
    addr: SocketAddr,
    ca_pem: String,
}

impl QuicEcho {
    /// Starts the server. Needs a runtime around it.
    pub(crate) fn start(dir: &Path) -> anyhow::Result<Self> {
        let certificates = NodeCertificates::load_or_create(dir, SERVER_NAME, &[])?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = server_endpoint(any, certificates.quic_server_config()?, quinn::EndpointConfig::default())?;
        let addr = server.local_addr()?;
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                tokio::spawn(async move {
                    // A connection that breaks ends its echo; the client says so.
                    if let Ok(connection) = incoming.await
                        && let Ok((mut send, mut recv)) = connection.accept_bi().await
                    {
                        while let Ok(Some(chunk)) = recv.read_chunk(usize::MAX, true).await {
                            if send.write_chunk(chunk.bytes).await.is_err() {
                                break;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { server, clients: client_endpoint(addr)?, addr, ca_pem: certificates.ca_pem() })
    }

    /// Echoes frames of this size over this many connections.
    pub(crate) async fn run(
        &self,
        connections: usize,
        frame_bytes: usize,
        pipelined: bool,
        warm_up: Duration,
        lasting: Duration,
    ) -> anyhow::Result<Loaded> {
        let mut echoes = Vec::new();
        for _ in 0..connections {
            let config = quic_client_config(&self.ca_pem)?;
            let connection = self.clients.connect_with(config, self.addr, SERVER_NAME)?.await?;
            let (send, recv) = connection.open_bi().await?;
            let window = if pipelined { WINDOW } else { 1 };
            let frame = vec![0x5a; frame_bytes.max(1)];
            echoes.push(Echo {
                _connection: connection,
                send,
                recv,
                frame,
                window,
                under_way_bytes: 0,
                echoed_bytes: 0,
            });
        }
        Ok(closed_loop(echoes, warm_up, lasting, || {}).await?.0)
    }
}

impl Drop for QuicEcho {
    fn drop(&mut self) {
        self.clients.close(0_u32.into(), b"");
        self.server.close(0_u32.into(), b"");
    }
}

struct Echo {
    _connection: Connection,
    send: SendStream,
    recv: RecvStream,
    frame: Vec<u8>,
    window: usize,
    under_way_bytes: usize,
    /// Of a frame that is not whole yet.
    echoed_bytes: usize,
}

impl Echo {
    /// Frames under way, begun ones included.
    fn under_way(&self) -> usize {
        self.under_way_bytes.div_ceil(self.frame.len())
    }
}

impl Client for Echo {
    async fn step(&mut self) -> anyhow::Result<u64> {
        let mut sent = 0;
        let mut echoed = 0;
        loop {
            // Both ways at once: frames are larger than the windows, and whoever only wrote would wait for ever.
            let may_send = sent > 0 || self.under_way() < self.window;
            tokio::select! {
                written = self.send.write(&self.frame[sent..]), if may_send => {
                    let written = written?;
                    self.under_way_bytes += written;
                    sent = (sent + written) % self.frame.len();
                }
                chunk = self.recv.read_chunk(usize::MAX, true) => {
                    let chunk = chunk?.ok_or_else(|| anyhow::anyhow!("the echo ended"))?;
                    self.under_way_bytes -= chunk.bytes.len();
                    self.echoed_bytes += chunk.bytes.len();
                    echoed += self.echoed_bytes / self.frame.len();
                    self.echoed_bytes %= self.frame.len();
                }
            }
            // Not within a frame, since the next step begins with one.
            if echoed > 0 && sent == 0 {
                return Ok(echoed as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn frames_larger_than_the_windows_are_echoed() {
        let dir = tempfile::tempdir().unwrap();
        let echo = QuicEcho::start(dir.path()).unwrap();
        let lasting = Duration::from_millis(300);
        let loaded = echo.run(2, 300_000, true, Duration::ZERO, lasting).await.unwrap();
        assert!(loaded.operations > 0);
        assert!(echo.run(1, 100, false, Duration::ZERO, lasting).await.unwrap().latencies.ms(0.5) > 0.0);
    }
}
