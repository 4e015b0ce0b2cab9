//! Mosquitto: retained publishes with QoS 1, acknowledged by PUBACK.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::peers::Writes;
use crate::peers::pipelined::{Pipelined, Protocol};
use crate::peers::process::{PeerProcess, free_addr};

pub(super) async fn start(program: &Path, dir: &Path) -> anyhow::Result<(PeerProcess, SocketAddr)> {
    let addr = free_addr()?;
    let configuration = dir.join("mosquitto.conf");
    // As root it would change to a user who may not write here.
    let text = format!(
        "listener {} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {}/\n\
         autosave_interval 1\nmax_inflight_messages 1000\nmax_queued_messages 0\nset_tcp_nodelay true\nlog_type error\n",
        addr.port(),
        dir.display()
    );
    std::fs::write(&configuration, text)?;
    let mut command = Command::new(program);
    command.arg("-c").arg(&configuration);
    Ok((PeerProcess::start(&mut command, dir, addr).await?, addr))
}

pub(super) async fn connect(addr: SocketAddr, writes: Writes, window: usize) -> anyhow::Result<Pipelined<Mqtt>> {
    let id = format!("gateway-{}", writes.client);
    let mut connect = vec![0x10];
    let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
    put_text(&mut body, id.as_bytes());
    put_length(&mut connect, body.len());
    connect.extend_from_slice(&body);
    Pipelined::connect(addr, Mqtt { writes, packet: 0 }, (window, false), (connect, 1)).await
}

/// MQTT 3.1.1, as far as publishing needs it.
pub(super) struct Mqtt {
    writes: Writes,
    packet: u16,
}

impl Protocol for Mqtt {
    fn put(&mut self, out: &mut Vec<u8>) {
        self.packet = self.packet.checked_add(1).unwrap_or(1);
        let packet = self.packet;
        self.writes.next(|key, value| {
            let topic = format!("twins/{key}");
            // PUBLISH, QoS 1, retained.
            out.push(0x33);
            put_length(out, 2 + topic.len() + 2 + value.len());
            put_text(out, topic.as_bytes());
            out.extend_from_slice(&packet.to_be_bytes());
            out.extend_from_slice(value);
        });
    }

    fn take(&mut self, input: &[u8], _: &mut Vec<u8>) -> anyhow::Result<(usize, usize)> {
        replies(input)
    }
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// MQTT's variable length: seven bits a byte.
fn put_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 128 {
        out.push((length % 128) as u8 | 0x80);
        length /= 128;
    }
    out.push(length as u8);
}

/// CONNACK and PUBACK, which both have four bytes.
fn replies(input: &[u8]) -> anyhow::Result<(usize, usize)> {
    let mut acknowledged = 0;
    for packet in input.chunks_exact(4) {
        match packet {
            [0x20, 2, _, 0] | [0x40, 2, _, _] => acknowledged += 1,
            other => bail!("mosquitto answered {other:02x?}"),
        }
    }
    Ok((acknowledged * 4, acknowledged))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_counted_and_a_part_is_left() {
        assert_eq!(replies(&[0x20, 2, 0, 0, 0x40, 2, 0, 7, 0x40, 2]).unwrap(), (8, 2));
    }

    #[test]
    fn a_refused_connection_is_an_error() {
        assert!(replies(&[0x20, 2, 0, 5]).is_err());
    }

    #[test]
    fn lengths_are_written_in_seven_bits_a_byte() {
        let mut out = Vec::new();
        put_length(&mut out, 321);
        assert_eq!(out, [0xc1, 0x02]);
    }
}
