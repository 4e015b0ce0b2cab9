//! Reports of any seeded twin, through the sessions of the gateways that seeded them.
//!
//! A gateway in a store serves some thousand devices; here each reports what a million would. So there is no SDK, no outbox and no
//! attach: the twins were seeded with the stay and the number that the next report builds on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use parking_lot::Mutex;
use quinn::{Endpoint, SendStream};
use tokio::sync::oneshot;
use twin_core::ids::TwinId;
use twin_core::numbers::Seq;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::codec::{Frame, FrameWriter};
use twin_transports::endpoint::client_endpoint;
use twin_transports::frames::batch::{BatchAck, StateBatch, StateMessage, WireBody, WireOp};

use super::seed::{STAY, SeededTwins, run_of};
use super::{SEEDERS, seeded_id};
use crate::document::{Documents, PREPARED};
use crate::hand_session::HandSession;
use crate::measure::Client;
use crate::node_process::NodeSpec;

/// How long a report that is refused for want of room is sent again.
const PATIENCE: Duration = Duration::from_secs(60);

/// The prepared documents as bodies of messages, with their paths.
pub(super) struct ReportBodies {
    paths: Vec<Path>,
    bodies: Vec<WireBody>,
}

impl ReportBodies {
    pub(super) fn of(documents: &Documents) -> Arc<Self> {
        let mut paths: Vec<Path> = Vec::new();
        let mut bodies = Vec::new();
        for number in 0..PREPARED as u64 {
            let mut operations = Vec::new();
            if let Value::Object(members) = &*documents.value(number) {
                for (key, value) in members {
                    let path = Path::root().child(key);
                    let at = paths.iter().position(|known| *known == path).unwrap_or_else(|| {
                        paths.push(path);
                        paths.len() - 1
                    });
                    operations.push((at as u32, WireOp::Set(value.clone())));
                }
            }
            bodies.push(WireBody::Report(operations));
        }
        Arc::new(Self { paths, bodies })
    }

    /// The batch with a report of each of these twins: the next document of what it had.
    fn batch(&self, batch: u64, twins: &[(u64, Seq)]) -> anyhow::Result<StateBatch> {
        let message = |(at, (_, seq)): (usize, &(u64, Seq))| StateMessage {
            twin: at as u32,
            stay: STAY,
            first: *seq,
            more: 0,
            body: self.bodies[seq.get() as usize % self.bodies.len()].clone(),
        };
        Ok(StateBatch {
            batch,
            reset: true,
            twins: twins.iter().map(|(number, _)| TwinId::new(&seeded_id(*number))).collect::<Result<_, _>>()?,
            paths: self.paths.clone(),
            messages: twins.iter().enumerate().map(message).collect(),
            trace: None,
        })
    }
}

/// Reports these twins over a stream of their own, and waits for the ack.
pub(super) async fn report(session: &HandSession, bodies: &ReportBodies, twins: &[(u64, Seq)]) -> anyhow::Result<()> {
    let (mut writer, mut reader) = session.state_stream().await?;
    writer.send(bodies.batch(1, twins)?).await?;
    match reader.next().await? {
        Some(Frame::BatchAck(ack)) if ack.refused.is_empty() => Ok(()),
        other => bail!("the node said {other:?} where an ack was due"),
    }
}

/// The state stream of one seeding gateway, shared by those who report over it.
struct Uplink {
    writer: tokio::sync::Mutex<(FrameWriter<SendStream>, u64)>,
    waiting: Mutex<HashMap<u64, oneshot::Sender<BatchAck>>>,
    _session: HandSession,
    _endpoint: Endpoint,
}

impl Uplink {
    async fn open(node: std::net::SocketAddr, twins: &SeededTwins, seeder: u64) -> anyhow::Result<Arc<Self>> {
        let endpoint = client_endpoint(node)?;
        let credentials = &twins.credentials[seeder as usize];
        let agent = format!("seeding/{seeder}");
        let session = HandSession::open(&endpoint, node, credentials, run_of(seeder), agent).await?;
        let (writer, mut reader) = session.state_stream().await?;
        let writer = tokio::sync::Mutex::new((writer, 0));
        let uplink = Arc::new(Self { writer, waiting: Mutex::default(), _session: session, _endpoint: endpoint });
        let weak = Arc::downgrade(&uplink);
        tokio::spawn(async move {
            while let Ok(Some(Frame::BatchAck(ack))) = reader.next().await {
                let Some(uplink) = weak.upgrade() else { return };
                let waiting = uplink.waiting.lock().remove(&ack.batch);
                // Whoever waited may have ended.
                waiting.map(|waiting| waiting.send(ack));
            }
            // Whoever waits learns that the stream is over.
            if let Some(uplink) = weak.upgrade() {
                uplink.waiting.lock().clear();
            }
        });
        Ok(uplink)
    }

    async fn send(&self, bodies: &ReportBodies, twins: &[(u64, Seq)]) -> anyhow::Result<BatchAck> {
        let acked = {
            let mut writer = self.writer.lock().await;
            let (writer, number) = &mut *writer;
            *number += 1;
            let (sender, acked) = oneshot::channel();
            self.waiting.lock().insert(*number, sender);
            writer.send(bodies.batch(*number, twins)?).await?;
            acked
        };
        acked.await.context("the node ended the stream")
    }
}

/// One closed loop of reports of any twin.
pub(crate) struct WideReporter {
    uplink: Arc<Uplink>,
    twins: Arc<SeededTwins>,
    bodies: Arc<ReportBodies>,
    seeder: u64,
    batch: usize,
}

/// Clients for a closed loop of reports, uniformly random over all seeded twins: of each seeding gateway `in_flight` updates at a
/// time, in batches of `batch`. The node must run.
pub(crate) async fn reporters(
    spec: &NodeSpec,
    twins: &Arc<SeededTwins>,
    documents: &Arc<Documents>,
    batch: u32,
    in_flight: u32,
) -> anyhow::Result<Vec<WideReporter>> {
    let bodies = ReportBodies::of(documents);
    let mut reporters = Vec::new();
    let batch = batch.min(in_flight);
    for seeder in 0..twins.credentials.len() as u64 {
        let uplink = Uplink::open(spec.quic, twins, seeder).await?;
        reporters.extend((0..(in_flight / batch).max(1)).map(|_| WideReporter {
            uplink: Arc::clone(&uplink),
            twins: Arc::clone(twins),
            bodies: Arc::clone(&bodies),
            seeder,
            batch: batch as usize,
        }));
    }
    Ok(reporters)
}

impl Client for WideReporter {
    async fn step(&mut self) -> anyhow::Result<u64> {
        let mut open: Vec<_> = (0..self.batch).map(|_| self.twins.next_of(self.seeder)).collect();
        let until = tokio::time::Instant::now() + PATIENCE;
        while !open.is_empty() {
            let ack = self.uplink.send(&self.bodies, &open).await?;
            let mut again = Vec::new();
            let mut pause = Duration::ZERO;
            for (at, refusal) in ack.refused {
                let twin = *open.get(at as usize).context("the node refused a message that was not in the batch")?;
                match refusal {
                    Refusal::Busy { retry_after_ms, .. } if tokio::time::Instant::now() < until => {
                        pause = pause.max(Duration::from_millis(retry_after_ms));
                        again.push(twin);
                    }
                    refusal => bail!("a report of {} was refused: {refusal}", seeded_id(twin.0)),
                }
            }
            open = again;
            if !open.is_empty() {
                tokio::time::sleep(pause).await;
            }
        }
        Ok(self.batch as u64)
    }
}

const _: () = assert!(SEEDERS <= 255, "a seeding gateway's number is one byte of its outbox id");
