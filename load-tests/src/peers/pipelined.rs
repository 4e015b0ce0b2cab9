//! A client that keeps a window of requests under way on one TCP connection.

use std::net::SocketAddr;

use anyhow::bail;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::measure::Client;

/// What is read at a time.
const READ_BYTES: usize = 64 * 1024;

/// How a service is spoken to.
pub(crate) trait Protocol: Send + 'static {
    /// Appends a request.
    fn put(&mut self, out: &mut Vec<u8>);

    /// Takes whole replies from the beginning of `input`: how many bytes they were, and how many requests they acknowledged. May
    /// append to `out` what the other side wants to hear. An error reply is an error.
    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> anyhow::Result<(usize, usize)>;
}

/// The client. Once half of the window is acknowledged (or all of it, if `whole`) it is filled up again in one write.
pub(crate) struct Pipelined<P> {
    stream: TcpStream,
    protocol: P,
    window: usize,
    refill_at: usize,
    under_way: usize,
    out: Vec<u8>,
    input: Vec<u8>,
}

impl<P: Protocol> Pipelined<P> {
    /// Connects, says `greeting` if there is one, and waits until `greeted` acknowledgements came.
    pub(crate) async fn connect(
        addr: SocketAddr,
        protocol: P,
        (window, whole): (usize, bool),
        (greeting, greeted): (Vec<u8>, usize),
    ) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        let refill_at = if whole { 0 } else { window / 2 };
        let mut client =
            Self { stream, protocol, window, refill_at, under_way: greeted, out: greeting, input: Vec::new() };
        client.write().await?;
        while client.under_way > 0 {
            client.read().await?;
        }
        Ok(client)
    }

    async fn write(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Reads what there is; how many requests it acknowledged.
    async fn read(&mut self) -> anyhow::Result<u64> {
        self.input.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the peer closed the connection");
        }
        let (bytes, acknowledged) = self.protocol.take(&self.input, &mut self.out)?;
        self.input.drain(..bytes);
        if acknowledged > self.under_way {
            bail!("{acknowledged} replies to {} requests", self.under_way);
        }
        self.under_way -= acknowledged;
        if !self.out.is_empty() {
            self.write().await?;
        }
        Ok(acknowledged as u64)
    }
}

impl<P: Protocol> Client for Pipelined<P> {
    async fn step(&mut self) -> anyhow::Result<u64> {
        if self.under_way <= self.refill_at {
            while self.under_way < self.window {
                self.protocol.put(&mut self.out);
                self.under_way += 1;
            }
            self.write().await?;
        }
        self.read().await
    }
}

/// The line at the beginning, without its end, and how long it is with it.
pub(crate) fn line(input: &[u8]) -> Option<(&[u8], usize)> {
    let end = input.windows(2).position(|two| two == b"\r\n")?;
    Some((&input[..end], end + 2))
}
