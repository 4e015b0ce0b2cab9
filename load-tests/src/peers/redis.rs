//! Redis: SET with `appendfsync always`.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::peers::Writes;
use crate::peers::pipelined::{Pipelined, Protocol};
use crate::peers::process::{PeerProcess, free_addr};

pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<(PeerProcess, SocketAddr)> {
    let addr = free_addr()?;
    let mut command = Command::new(program);
    command.args(["--bind", "127.0.0.1", "--port", &addr.port().to_string(), "--daemonize", "no", "--save", ""]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]);
    command.arg("--dir").arg(dir);
    Ok((PeerProcess::start(&mut command, dir, addr).await?, addr))
}

pub(super) async fn connect(addr: SocketAddr, writes: Writes, window: usize) -> anyhow::Result<Pipelined<Resp>> {
    // Whole windows, as redis-benchmark does: each is one round of its event loop, and one fsync.
    Pipelined::connect(addr, Resp(writes), (window, true), (Vec::new(), 0)).await
}

/// The Redis serialization protocol, as far as SET needs it.
pub(super) struct Resp(Writes);

impl Protocol for Resp {
    fn put(&mut self, out: &mut Vec<u8>) {
        self.0.next(|key, value| {
            let key = key.to_string();
            // Writing to memory cannot fail.
            let _ = write!(out, "*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        });
    }

    fn take(&mut self, input: &[u8], _: &mut Vec<u8>) -> anyhow::Result<(usize, usize)> {
        replies(input)
    }
}

fn replies(input: &[u8]) -> anyhow::Result<(usize, usize)> {
    const OK: &[u8] = b"+OK\r\n";
    let whole = input.chunks_exact(OK.len()).take_while(|reply| *reply == OK).count();
    let taken = whole * OK.len();
    let rest = &input[taken..];
    if !OK.starts_with(rest) && !rest.is_empty() {
        bail!("Redis answered {:?}", String::from_utf8_lossy(&rest[..rest.len().min(200)]));
    }
    Ok((taken, whole))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_replies_are_taken_and_a_part_is_left() {
        assert_eq!(replies(b"+OK\r\n+OK\r\n+O").unwrap(), (10, 2));
        assert_eq!(replies(b"").unwrap(), (0, 0));
    }

    #[test]
    fn an_error_is_an_error() {
        let error = replies(b"+OK\r\n-MISCONF Errors writing to the AOF file\r\n").unwrap_err();
        assert!(error.to_string().contains("MISCONF"), "{error}");
    }
}
