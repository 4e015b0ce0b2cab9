//! NATS: puts into a JetStream key-value bucket on file storage, each acknowledged by the stream.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::peers::Writes;
use crate::peers::pipelined::{Pipelined, Protocol, line};
use crate::peers::process::{PeerProcess, free_addr};

/// A key-value bucket is a stream with this configuration.
const BUCKET: &str = r#"{"name":"KV_twins","subjects":["$KV.twins.>"],"retention":"limits","max_msgs_per_subject":1,"max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"discard":"new","storage":"file","num_replicas":1,"allow_rollup_hdrs":true,"deny_delete":true,"allow_direct":true}"#;
/// How many clients there were.
static INBOXES: AtomicU64 = AtomicU64::new(0);
const CONNECT: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n";

pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<(PeerProcess, SocketAddr)> {
    let addr = free_addr()?;
    let mut command = Command::new(program);
    command.args(["--addr", "127.0.0.1", "--port", &addr.port().to_string(), "--jetstream", "--store_dir"]).arg(dir);
    let process = PeerProcess::start(&mut command, dir, addr).await?;
    make_bucket(addr).await?;
    Ok((process, addr))
}

async fn make_bucket(addr: SocketAddr) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let request = format!(
        "{CONNECT}SUB made 1\r\nPUB $JS.API.STREAM.CREATE.KV_twins made {}\r\n{BUCKET}\r\nPING\r\n",
        BUCKET.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut said = Vec::new();
    loop {
        if stream.read_buf(&mut said).await? == 0 {
            bail!("NATS closed the connection: {}", String::from_utf8_lossy(&said));
        }
        let text = String::from_utf8_lossy(&said);
        let Some((_, answer)) = text.split_once("MSG made") else { continue };
        if answer.contains("\"error\"") {
            bail!("NATS makes no bucket: {answer}");
        }
        if answer.contains("KV_twins") {
            return Ok(());
        }
    }
}

pub(super) async fn connect(addr: SocketAddr, writes: Writes, window: usize) -> anyhow::Result<Pipelined<Text>> {
    // Never the same twice: the server still answers what a client of the slice before had under way when it went.
    let inbox = format!("_INBOX.{}", INBOXES.fetch_add(1, Ordering::Relaxed));
    let greeting = format!("{CONNECT}SUB {inbox} 1\r\n").into_bytes();
    Pipelined::connect(addr, Text { writes, inbox }, (window, false), (greeting, 0)).await
}

/// The text protocol, as far as publishing to a stream needs it.
pub(super) struct Text {
    writes: Writes,
    inbox: String,
}

impl Protocol for Text {
    fn put(&mut self, out: &mut Vec<u8>) {
        let inbox = &self.inbox;
        self.writes.next(|key, value| {
            let _ = write!(out, "PUB $KV.twins.{key} {inbox} {}\r\n", value.len());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        });
    }

    fn take(&mut self, input: &[u8], out: &mut Vec<u8>) -> anyhow::Result<(usize, usize)> {
        replies(input, out)
    }
}

fn replies(input: &[u8], out: &mut Vec<u8>) -> anyhow::Result<(usize, usize)> {
    let (mut taken, mut acknowledged) = (0, 0);
    while let Some((head, head_len)) = line(&input[taken..]) {
        if head.starts_with(b"MSG ") {
            let size = std::str::from_utf8(head)?.rsplit(' ').next().context("a MSG without a size")?;
            let size: usize = size.parse().with_context(|| format!("the size {size:?} of a MSG"))?;
            let Some(payload) = input.get(taken + head_len..taken + head_len + size) else { break };
            if input.len() < taken + head_len + size + 2 {
                break;
            }
            if !payload.starts_with(b"{\"stream\"") {
                bail!("JetStream answered {}", String::from_utf8_lossy(payload));
            }
            acknowledged += 1;
            taken += size + 2;
        } else if head == b"PING" {
            out.extend_from_slice(b"PONG\r\n");
        } else if head.starts_with(b"-ERR") || head.starts_with(b"HMSG") {
            bail!("NATS said {}", String::from_utf8_lossy(head));
        }
        taken += head_len;
    }
    Ok((taken, acknowledged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_counted_and_pings_answered() {
        let mut out = Vec::new();
        let ack = br#"{"stream":"KV_twins", "seq":12}"#;
        let mut input = format!("INFO {{}}\r\nPING\r\nMSG _INBOX.0 1 {}\r\n", ack.len()).into_bytes();
        input.extend_from_slice(ack);
        let whole = input.len() + 2;
        assert_eq!(replies(&input, &mut out).unwrap().1, 0, "its end is missing");
        out.clear();
        input.extend_from_slice(b"\r\nMSG _INB");
        assert_eq!(replies(&input, &mut out).unwrap(), (whole, 1));
        assert_eq!(out, b"PONG\r\n");
    }

    #[test]
    fn an_error_is_an_error() {
        let answer = br#"{"error":{"code":503,"description":"no space"}}"#;
        let mut input = format!("MSG _INBOX.0 1 {}\r\n", answer.len()).into_bytes();
        input.extend_from_slice(answer);
        input.extend_from_slice(b"\r\n");
        assert!(replies(&input, &mut Vec::new()).is_err());
        assert!(replies(b"-ERR 'Unknown Protocol Operation'\r\n", &mut Vec::new()).is_err());
    }
}
