//! The cheapest client of HTTP/1.1 that will do: one connection, one GET after the other, kept alive.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::measure::Client;

/// One connection with the requests that it sends in turn, made beforehand.
pub(crate) struct HttpGets {
    stream: TcpStream,
    requests: Vec<Vec<u8>>,
    next: usize,
    input: Vec<u8>,
}

/// A GET request.
pub(crate) fn get_request(addr: SocketAddr, path: &str, token: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

impl HttpGets {
    pub(crate) async fn connect(addr: SocketAddr, requests: Vec<Vec<u8>>) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, requests, next: 0, input: Vec::with_capacity(16 * 1024) })
    }

    /// Sends the next request and reads its answer, which must be a 200: its body.
    pub(crate) async fn get(&mut self) -> anyhow::Result<&[u8]> {
        let request = self.requests.get(self.next).context("no request")?;
        self.next = (self.next + 1) % self.requests.len();
        self.stream.write_all(request).await?;
        self.input.clear();
        loop {
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server closed the connection");
            }
            if let Some((head, body)) = answer(&self.input)? {
                return Ok(&self.input[head..head + body]);
            }
        }
    }
}

impl Client for HttpGets {
    async fn step(&mut self) -> anyhow::Result<u64> {
        self.get().await?;
        Ok(1)
    }
}

/// Lengths of head and body, once all of it is there.
fn answer(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&input[..end]).context("the head of an answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("the server answered {}", head.lines().next().unwrap_or_default());
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.context("an answer without a length")?.parse()?;
    Ok((input.len() >= end + 4 + length).then_some((end + 4, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_body() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
        assert_eq!(answer(&text[..text.len() - 1]).unwrap(), None);
        assert_eq!(answer(text).unwrap(), Some((text.len() - 3, 3)));
    }

    #[test]
    fn anything_but_200_is_an_error() {
        assert!(answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").is_err());
        assert!(answer(b"HTTP/1.1 200 OK\r\n\r\n").is_err(), "no length");
    }
}
