//! Connected gateways at the least cost: sessions without outbox or thread, hundreds of them on one UDP socket.
//!
//! The SDK has a socket, a thread and two files for each gateway, which is right for a box in a store and too much for thousands in one
//! process. Here is only what the node sees: QUIC, the handshake, the control and the state stream, heartbeats.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use quinn::{Endpoint, RecvStream, SendStream};
use tokio::task::JoinSet;
use twin_gateway::Credentials;
use twin_transports::codec::{FrameReader, FrameWriter, encode_datagram};
use twin_transports::endpoint::client_endpoint;
use twin_transports::frames::session::Heartbeat;
use twin_transports::limits::HEARTBEAT_INTERVAL;

use crate::hand_session::{HandSession, Run};
use crate::rest::Rest;

/// Connections of one socket.
const PER_ENDPOINT: usize = 250;
/// Handshakes under way at once.
const HANDSHAKES: usize = 16;
/// Threads that register gateways over REST.
const REGISTRARS: u32 = 8;

/// One session.
pub(crate) struct Thin {
    pub(crate) session: HandSession,
    pub(crate) state: (FrameWriter<SendStream>, FrameReader<RecvStream>),
}

/// All of them; closed when dropped.
pub(crate) struct ThinGateways {
    sessions: Vec<Thin>,
    endpoints: Vec<Endpoint>,
}

/// Registers gateways, so many a site, in as many sites as they need: the first site's first. Named after the directory, as the node
/// may have had others before.
pub(crate) fn register(rest: &Rest, dir: &Path, gateways: u32, per_site: u32) -> anyhow::Result<Vec<Credentials>> {
    let prefix = dir.file_name().context("no name")?.to_string_lossy();
    for site in 0..gateways.div_ceil(per_site) {
        rest.open_site(&format!("store-{site}"))?;
    }
    let register = |registrar: u32| {
        let mine = (0..gateways).filter(|number| number % REGISTRARS == registrar);
        mine.map(|number| {
            let name = format!("{prefix}-{number}");
            let file = dir.join(format!("{name}.json"));
            rest.add_gateway(&format!("store-{}", number / per_site), &name, &file)?;
            Ok((number, Credentials::load(&file).context("credentials")?))
        })
        .collect::<anyhow::Result<Vec<_>>>()
    };
    std::thread::scope(|scope| {
        let registrars: Vec<_> = (0..REGISTRARS).map(|registrar| scope.spawn(move || register(registrar))).collect();
        let mut all = Vec::new();
        for registrar in registrars {
            all.extend(registrar.join().map_err(|_| anyhow::anyhow!("a registrar panicked"))??);
        }
        all.sort_unstable_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, credentials)| credentials).collect())
    })
}

impl ThinGateways {
    /// Connects them all.
    pub(crate) async fn connect(node: std::net::SocketAddr, credentials: Vec<Credentials>) -> anyhow::Result<Self> {
        let count = credentials.len().div_ceil(PER_ENDPOINT);
        let endpoints = (0..count).map(|_| client_endpoint(node)).collect::<Result<Vec<_>, _>>()?;
        let mut opening = JoinSet::new();
        let mut opened = Vec::with_capacity(credentials.len());
        for (number, credentials) in credentials.into_iter().enumerate() {
            if opening.len() >= HANDSHAKES
                && let Some(next) = opening.join_next().await
            {
                opened.push(next??);
            }
            let endpoint = endpoints[number / PER_ENDPOINT].clone();
            opening.spawn(async move { anyhow::Ok((number, open(endpoint, node, credentials, number as u64).await?)) });
        }
        while let Some(next) = opening.join_next().await {
            opened.push(next??);
        }
        opened.sort_unstable_by_key(|(number, _)| *number);
        Ok(Self { sessions: opened.into_iter().map(|(_, session)| session).collect(), endpoints })
    }

    /// The sessions, in the order of their credentials, for whoever does more with them.
    pub(crate) fn take(&mut self) -> Vec<Thin> {
        std::mem::take(&mut self.sessions)
    }

    /// Sends heartbeats as gateways do, spread over the interval, until dropped.
    pub(crate) async fn beat(&self) -> anyhow::Result<()> {
        let pause = HEARTBEAT_INTERVAL / (self.sessions.len().max(1) as u32).div_ceil(10);
        for number in 1.. {
            for ten in self.sessions.chunks(10) {
                for session in ten {
                    let heartbeat = Heartbeat { number, ..Heartbeat::default() };
                    session
                        .session
                        .connection
                        .send_datagram(encode_datagram(&heartbeat))
                        .context("a connection was lost")?;
                }
                tokio::time::sleep(pause.max(Duration::from_millis(1))).await;
            }
        }
        Ok(())
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }
}

impl Drop for ThinGateways {
    fn drop(&mut self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.close(0_u32.into(), b"bye"));
    }
}

async fn open(
    endpoint: Endpoint,
    node: std::net::SocketAddr,
    credentials: Credentials,
    number: u64,
) -> anyhow::Result<Thin> {
    let session = HandSession::open(&endpoint, node, &credentials, Run::random(), format!("thin/{number}")).await?;
    let state = session.state_stream().await?;
    Ok(Thin { session, state })
}
