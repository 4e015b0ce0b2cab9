//! What a user would run instead, measured on the same machine in the same run.
//!
//! Each is a program from the system's packages, started on loopback with a directory of its own ([`process`]), durable as far
//! as it can be (each says how far), and loaded by as many clients as we have gateways, each pipelining over one
//! TCP connection ([`pipelined`]). A program that is not installed is skipped by name.

mod etcd;
mod mosquitto;
mod nats;
mod pipelined;
mod process;
mod redis;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::document::Documents;
use crate::measure::{Loaded, closed_loop};
use process::PeerProcess;

/// Requests under way of each client that are tried; the best counts.
pub(crate) const WINDOWS: [usize; 3] = [1, 16, 128];

/// What kind of service it is, and how it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Redis,
    Nats,
    Etcd,
    Mosquitto,
}

/// All that we know.
pub(crate) const KINDS: [Kind; 4] = [Kind::Redis, Kind::Nats, Kind::Etcd, Kind::Mosquitto];

impl Kind {
    /// Name of its program.
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Nats => "nats-server",
            Self::Etcd => "etcd",
            Self::Mosquitto => "mosquitto",
        }
    }

    /// What is measured.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::Redis => "Redis SET",
            Self::Nats => "JetStream KV put",
            Self::Etcd => "etcd put",
            Self::Mosquitto => "mosquitto QoS 1 publish",
        }
    }

    /// How durable an acknowledged write is, as we start it.
    pub(crate) fn durability(self) -> &'static str {
        match self {
            Self::Redis => "AOF with appendfsync always, no RDB snapshots, no AOF rewrites",
            Self::Nats => {
                "file storage; this server syncs its files every 2 minutes, not before the ack: weaker than ours"
            }
            Self::Etcd => "its default: WAL synced before the ack; gRPC",
            Self::Mosquitto => {
                "retained, persistence with autosave each second: acked before it is on the disk, weaker than ours"
            }
        }
    }
}

/// A service that runs.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    addr: SocketAddr,
    process: PeerProcess,
    /// A key and a value for each client and step.
    load: Load,
}

/// What is written: the same documents under as many keys as there are hot twins.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) documents: Arc<Documents>,
    pub(crate) clients: u32,
    pub(crate) keys_per_client: u32,
}

/// What one client writes, one after the other.
#[derive(Clone)]
pub(crate) struct Writes {
    load: Load,
    client: u32,
    number: u64,
}

impl Writes {
    /// Key and value of the next write.
    pub(crate) fn next<R>(&mut self, put: impl FnOnce(std::fmt::Arguments<'_>, &[u8]) -> R) -> R {
        let keys = u64::from(self.load.keys_per_client);
        let (key, round) = (self.number % keys, self.number / keys);
        self.number += 1;
        put(format_args!("hot-{}-{key}", self.client), self.load.documents.json(key + round))
    }
}

impl Peer {
    /// Starts it in `dir`; `None`: it is not installed.
    pub(crate) async fn start(kind: Kind, dir: &Path, load: Load) -> anyhow::Result<Option<Self>> {
        let Some(program) = process::find(kind.program()) else { return Ok(None) };
        let (process, addr) = match kind {
            Kind::Redis => redis::start(&program, dir).await?,
            Kind::Nats => nats::start(&program, dir).await?,
            Kind::Etcd => etcd::start(&program, dir).await?,
            Kind::Mosquitto => mosquitto::start(&program, dir).await?,
        };
        let version = process::version(kind, &program);
        Ok(Some(Self { kind, version, addr, process, load }))
    }

    /// Its process, whose CPU time is not somebody else's.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Writes in a closed loop with `window` requests of each client under way.
    pub(crate) async fn write(&self, window: usize, warm_up: Duration, lasting: Duration) -> anyhow::Result<Loaded> {
        let writes = (0..self.load.clients).map(|client| Writes { load: self.load.clone(), client, number: 0 });
        macro_rules! load {
            ($connect:path) => {{
                let mut clients = Vec::new();
                for writes in writes {
                    clients.push($connect(self.addr, writes, window).await?);
                }
                Ok(closed_loop(clients, warm_up, lasting, || {}).await?.0)
            }};
        }
        match self.kind {
            Kind::Redis => load!(redis::connect),
            Kind::Nats => load!(nats::connect),
            Kind::Etcd => load!(etcd::connect),
            Kind::Mosquitto => load!(mosquitto::connect),
        }
    }
}
