//! etcd: puts over gRPC, each on a stream of its own of one HTTP/2 connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use h2::client::{ResponseFuture, SendRequest};
use tokio::net::TcpStream;

use crate::measure::Client;
use crate::peers::Writes;
use crate::peers::process::{PeerProcess, free_addr};

pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<(PeerProcess, SocketAddr)> {
    let (addr, peers) = (free_addr()?, free_addr()?);
    let (url, peer_url) = (format!("http://{addr}"), format!("http://{peers}"));
    let mut command = Command::new(program);
    command.args(["--name", "one", "--listen-client-urls", &url, "--advertise-client-urls", &url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("one={peer_url}"), "--data-dir"]).arg(dir.join("data"));
    let process = PeerProcess::start(&mut command, dir, addr).await?;
    Ok((process, addr))
}

pub(super) async fn connect(addr: SocketAddr, writes: Writes, window: usize) -> anyhow::Result<Puts> {
    let stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::handshake(stream).await?;
    // Ends with the connection; errors come out of the requests as well.
    tokio::spawn(async move { drop(connection.await) });
    let uri = format!("http://{addr}/etcdserverpb.KV/Put");
    Ok(Puts { sender, uri: uri.parse()?, writes, window, under_way: FuturesUnordered::new() })
}

type Answer = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// One client.
pub(super) struct Puts {
    sender: SendRequest<Bytes>,
    uri: http::Uri,
    writes: Writes,
    window: usize,
    under_way: FuturesUnordered<Answer>,
}

impl Client for Puts {
    async fn step(&mut self) -> anyhow::Result<u64> {
        while self.under_way.len() < self.window {
            poll_fn(|context| self.sender.poll_ready(context)).await?;
            let request = http::Request::post(self.uri.clone())
                .version(http::Version::HTTP_2)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())?;
            let (answer, mut body) = self.sender.send_request(request, false)?;
            let message = self.writes.next(|key, value| put_request(key.to_string().as_bytes(), value));
            body.send_data(message, true)?;
            self.under_way.push(Box::pin(finish(answer)));
        }
        self.under_way.next().await.context("nothing is under way")??;
        Ok(1)
    }
}

async fn finish(answer: ResponseFuture) -> anyhow::Result<()> {
    let answer = answer.await?;
    let early = answer.headers().get("grpc-status").cloned();
    let mut body = answer.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let trailers = body.trailers().await?;
    let status = early.or_else(|| trailers.as_ref()?.get("grpc-status").cloned());
    match status.as_ref().map(http::HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        other => bail!("etcd answered grpc-status {:?} ({trailers:?})", other.map(String::from_utf8_lossy)),
    }
}

/// A gRPC message with a `PutRequest { key = 1, value = 2 }`.
fn put_request(key: &[u8], value: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(key.len() + value.len() + 16);
    // Uncompressed; the length comes below.
    message.extend_from_slice(&[0; 5]);
    for (tag, bytes) in [(0x0a, key), (0x12, value)] {
        message.put_u8(tag);
        put_varint(&mut message, bytes.len());
        message.extend_from_slice(bytes);
    }
    let length = (message.len() - 5) as u32;
    message[1..5].copy_from_slice(&length.to_be_bytes());
    message.freeze()
}

fn put_varint(message: &mut BytesMut, mut number: usize) {
    while number >= 128 {
        message.put_u8((number % 128) as u8 | 0x80);
        number /= 128;
    }
    message.put_u8(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_is_framed_as_grpc_and_protobuf_want_it() {
        assert_eq!(put_request(b"k", b"vv")[..], [0, 0, 0, 0, 7, 0x0a, 1, b'k', 0x12, 2, b'v', b'v']);
        let long = put_request(b"k", &[7; 300]);
        assert_eq!(long[..11], [0, 0, 0, 1, 0x32, 0x0a, 1, b'k', 0x12, 0xac, 2]);
    }
}
