//! A client of `POST /api/v1/twins:batchUpdate` and its likes: sends lines and reads results at the same time, over one connection.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of lines that are sent as one chunk.
const CHUNK_BYTES: usize = 32 * 1024;

/// Posts these lines to be updated; how many results said 200. Any other result is an error.
pub(crate) async fn batch_update(
    addr: SocketAddr,
    token: &str,
    lines: impl Iterator<Item = String> + Send,
) -> anyhow::Result<u64> {
    batch(addr, token, "/api/v1/twins:batchUpdate", lines).await
}

/// Posts these lines there; how many results said 200. Any other result is an error.
pub(crate) async fn batch(
    addr: SocketAddr,
    token: &str,
    path: &str,
    lines: impl Iterator<Item = String> + Send,
) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (mut recv, mut send) = stream.split();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let write = async {
        send.write_all(head.as_bytes()).await?;
        let mut chunk = String::with_capacity(CHUNK_BYTES * 2);
        let mut lines = lines.peekable();
        while let Some(line) = lines.next() {
            chunk.push_str(&line);
            chunk.push('\n');
            if chunk.len() >= CHUNK_BYTES || lines.peek().is_none() {
                send.write_all(format!("{:x}\r\n{chunk}\r\n", chunk.len()).as_bytes()).await?;
                chunk.clear();
            }
        }
        send.write_all(b"0\r\n\r\n").await?;
        anyhow::Ok(())
    };
    let read = async {
        let (mut results, mut input) = (Results::default(), Vec::new());
        while !results.ended {
            if recv.read_buf(&mut input).await? == 0 {
                bail!("the node closed the connection after {} results", results.done);
            }
            let taken = results.take(&input)?;
            input.drain(..taken);
        }
        Ok(results.done)
    };
    let ((), done) = tokio::try_join!(write, read)?;
    Ok(done)
}

/// Reads a chunked answer as it comes.
#[derive(Default)]
struct Results {
    head_read: bool,
    ended: bool,
    /// Of a line whose end has not come.
    line: Vec<u8>,
    done: u64,
}

impl Results {
    /// Takes what is whole; how many bytes that was.
    fn take(&mut self, input: &[u8]) -> anyhow::Result<usize> {
        let mut taken = 0;
        if !self.head_read {
            let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(0) };
            if !input.starts_with(b"HTTP/1.1 200") {
                bail!("the node answered {}", String::from_utf8_lossy(&input[..input.len().min(500)]));
            }
            self.head_read = true;
            taken = end + 4;
        }
        while !self.ended {
            let rest = &input[taken..];
            let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { break };
            let size = std::str::from_utf8(&rest[..end])?;
            let size = usize::from_str_radix(size, 16).with_context(|| format!("the size {size:?} of a chunk"))?;
            if rest.len() < end + 2 + size + 2 {
                break;
            }
            self.lines(&rest[end + 2..end + 2 + size])?;
            self.ended = size == 0;
            taken += end + 2 + size + 2;
        }
        Ok(taken)
    }

    fn lines(&mut self, mut bytes: &[u8]) -> anyhow::Result<()> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.line.extend_from_slice(&bytes[..end]);
            bytes = &bytes[end + 1..];
            // Looked for rather than parsed: a million lines are the client's to bear.
            if !self.line.windows(11).any(|part| part == b"\"status\":20") {
                bail!("an item was refused: {}", String::from_utf8_lossy(&self.line));
            }
            self.line.clear();
            self.done += 1;
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";

    #[test]
    fn results_are_counted_wherever_the_chunks_are_cut() {
        let body = b"1a\r\n{\"id\":\"a\",\"status\":200}\n{\"\r\n17\r\nid\":\"b\",\"status\":200}\n\n\r\n0\r\n\r\n";
        let whole = [HEAD, &body[..body.len()]].concat();
        // The empty line above is not a result, and must be told.
        let mut results = Results::default();
        assert!(results.take(&whole).is_err());
        let body = b"1a\r\n{\"id\":\"a\",\"status\":200}\n{\"\r\n16\r\nid\":\"b\",\"status\":200}\n\r\n0\r\n\r\n";
        let whole = [HEAD, &body[..]].concat();
        let mut results = Results::default();
        let mut input = Vec::new();
        for byte in &whole {
            input.push(*byte);
            let taken = results.take(&input).unwrap();
            input.drain(..taken);
        }
        assert!(results.ended);
        assert_eq!(results.done, 2);
    }

    #[test]
    fn a_refused_item_is_an_error() {
        let mut results = Results { head_read: true, ..Results::default() };
        assert!(results.take(b"1c\r\n{\"id\":\"a\",\"status\":404,\"x\":\n\r\n").is_err());
    }
}
