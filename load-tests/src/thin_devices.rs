//! A store's gateway at the least cost, with devices: takes over what they should be the moment it hears of it, and says so.
//!
//! Over a thin session (see `thin`), so without an outbox: what it holds is gone with it. Everything else is as the SDK does it: it says
//! what it received on the control stream, and that it is applied in numbered batches on the state stream, of which it has no more under
//! way than it may.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use quinn::{RecvStream, SendStream};
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Boot, Seq, Stay, Version};
use twin_transports::codec::{Frame, FrameReader, FrameWriter};
use twin_transports::frames::batch::{BatchAck, StateBatch, StateMessage, WireBody};
use twin_transports::frames::device::{Attach, AttachItem, Desired, DesiredReceived};
use twin_transports::limits::{ATTACH_ITEMS_MAX, BATCH_MESSAGES_MAX, BATCHES_IN_FLIGHT_MAX};

use crate::hand_session::HandSession;
use crate::thin::Thin;

/// The only stay of a device.
const STAY: Stay = Stay { boot: Boot::new(1), counter: 1 };
/// What a busy node took not is sent again after this.
const AGAIN: Duration = Duration::from_millis(50);

/// What all gateways count together.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Devices attached.
    pub(crate) attached: AtomicU64,
    /// Deltas received.
    pub(crate) received: AtomicU64,
    /// Frames that they came in.
    pub(crate) frames: AtomicU64,
    /// Answers that are committed.
    pub(crate) applied: AtomicU64,
}

/// A device's answer: its place, its number, and what it took over.
type Applied = (u32, Seq, Version);

/// One gateway.
struct Devices {
    ids: Vec<TwinId>,
    places: HashMap<TwinId, u32>,
    /// The last number of each.
    numbers: Vec<Seq>,
    progress: Arc<Progress>,
    waiting: VecDeque<Applied>,
    under_way: HashMap<u64, Vec<Applied>>,
    batches: u64,
}

/// Serves these devices until the session ends, which is an error.
pub(crate) async fn serve(thin: Thin, ids: Vec<TwinId>, progress: Arc<Progress>) -> anyhow::Result<()> {
    let Thin { session, state: (mut up, mut acks) } = thin;
    let HandSession { connection: _connection, control: (mut control, mut down), .. } = session;
    attach(&mut control, &mut down, &ids, &progress).await?;
    let mut devices = Devices {
        places: ids.iter().cloned().zip(0..).collect(),
        numbers: vec![Seq::default(); ids.len()],
        ids,
        progress,
        waiting: VecDeque::new(),
        under_way: HashMap::new(),
        batches: 0,
    };
    let mut again = Vec::new();
    loop {
        tokio::select! {
            frame = down.next() => {
                let deltas = match frame?.context("the node finished the control stream")? {
                    Frame::Desired(desired) => vec![desired],
                    Frame::DesiredMany(many) => many.items,
                    other => bail!("the node sent a {}", other.kind_name()),
                };
                control.send(devices.take(&deltas)?).await?;
            }
            frame = acks.next() => match frame?.context("the node finished the state stream")? {
                Frame::BatchAck(ack) => again.extend(devices.acked(ack)?),
                other => bail!("the node sent a {} where an ack was due", other.kind_name()),
            },
            () = tokio::time::sleep(AGAIN), if !again.is_empty() => devices.waiting.extend(again.drain(..)),
        }
        while let Some(batch) = devices.next_batch() {
            up.send(batch).await?;
        }
    }
}

async fn attach(
    control: &mut FrameWriter<SendStream>,
    down: &mut FrameReader<RecvStream>,
    ids: &[TwinId],
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut left: VecDeque<Vec<TwinId>> = ids.chunks(ATTACH_ITEMS_MAX).map(<[TwinId]>::to_vec).collect();
    let mut request = 0;
    while let Some(ids) = left.pop_front() {
        request += 1;
        let item = |twin: &TwinId| AttachItem {
            twin: twin.clone(),
            stay: STAY,
            saw: AttachmentNo::default(),
            // A new twin's, so that a gateway begins as one that has been there for long.
            knows: Version::new(1),
        };
        control.send(Attach { request, items: ids.iter().map(item).collect(), urgent: false }).await?;
        match down.next().await?.context("the node finished the control stream")? {
            Frame::AttachResults(answer) => {
                let (mut attached, mut again) = (0, Vec::new());
                for (id, result) in ids.into_iter().zip(answer.results) {
                    match result {
                        Ok(_) => attached += 1,
                        Err(refusal) if refusal.retry_after().is_some() => again.push(id),
                        Err(refusal) => bail!("{id} was not attached: {refusal}"),
                    }
                }
                progress.attached.fetch_add(attached, Ordering::Relaxed);
                if !again.is_empty() {
                    left.push_back(again);
                    tokio::time::sleep(AGAIN).await;
                }
            }
            other => bail!("the node sent a {} where attach results were due", other.kind_name()),
        }
    }
    Ok(())
}

impl Devices {
    /// The devices follow.
    fn take(&mut self, deltas: &[Desired]) -> anyhow::Result<DesiredReceived> {
        self.progress.frames.fetch_add(1, Ordering::Relaxed);
        self.progress.received.fetch_add(deltas.len() as u64, Ordering::Relaxed);
        let mut items = Vec::with_capacity(deltas.len());
        for delta in deltas {
            let place = *self.places.get(&delta.twin).with_context(|| format!("{} is not served here", delta.twin))?;
            let number = self.numbers[place as usize].next();
            self.numbers[place as usize] = number;
            self.waiting.push_back((place, number, delta.to));
            items.push((delta.twin.clone(), delta.to));
        }
        Ok(DesiredReceived { items })
    }

    fn next_batch(&mut self) -> Option<StateBatch> {
        if self.waiting.is_empty() || self.under_way.len() >= BATCHES_IN_FLIGHT_MAX {
            return None;
        }
        let batch = self.batches + 1;
        let is_first = batch == 1;
        self.batches = batch;
        let many = self.waiting.len().min(BATCH_MESSAGES_MAX);
        let applied: Vec<Applied> = self.waiting.drain(..many).collect();
        let message = |&(twin, first, version): &Applied| StateMessage {
            twin,
            stay: STAY,
            first,
            more: 0,
            body: WireBody::DesiredApplied(version),
        };
        let messages = applied.iter().map(message).collect();
        self.under_way.insert(batch, applied);
        let twins = if is_first { self.ids.clone() } else { Vec::new() };
        Some(StateBatch { batch, reset: is_first, twins, paths: Vec::new(), messages, trace: None })
    }

    /// Those that are to be sent again.
    fn acked(&mut self, ack: BatchAck) -> anyhow::Result<Vec<Applied>> {
        let applied = self.under_way.remove(&ack.batch).with_context(|| format!("batch {} was not sent", ack.batch))?;
        self.progress.applied.fetch_add((applied.len() - ack.refused.len()) as u64, Ordering::Relaxed);
        ack.refused
            .into_iter()
            .map(|(index, refusal)| match refusal.retry_after() {
                Some(_) => applied.get(index as usize).copied().context("an ack of what was not sent"),
                None => bail!("an answer was refused: {refusal}"),
            })
            .collect()
    }
}
