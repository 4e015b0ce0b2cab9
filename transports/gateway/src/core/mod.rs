//! Everything the gateway knows, as plain data behind one lock: inputs in, outputs out, no I/O and no clock of its own.
//!
//! [`append`] takes what the application says, [`attaching`] brings stays to the node, [`sending`] makes batches and takes
//! their answers, [`refusals`] decides what becomes of what was refused, [`desired`] keeps the way down. [`twin`] is one device;
//! [`ready`] says what may happen to it next.

pub(crate) mod append;
pub(crate) mod attaching;
pub(crate) mod calls;
pub(crate) mod counters;
pub(crate) mod desired;
pub(crate) mod ready;
pub(crate) mod refusals;
pub(crate) mod report_status;
pub(crate) mod sending;
#[cfg(test)]
mod tests;
pub(crate) mod twin;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OutboxId, OwnerOrder, Seq, Stay};
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::frames::device::CallResult;

use crate::core::counters::Counters;
use crate::core::sending::Sent;
use crate::core::twin::Twin;
use crate::limits::{MESSAGE_OVERHEAD_BYTES, WINDOW_BYTES_MAX};
use crate::outbox::dead_letters::DeadLetters;
use crate::outbox::file::Opened;
use crate::outbox::format::{Class, OutboxMeta, encode_record};
use crate::outbox::lane::Pending;
use crate::outbox::writer::{Write, WriteQueue};
use crate::shared::Wakes;

/// Index of a device in this run.
pub(crate) type TwinIndex = u32;

/// What the options decide.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) cap_bytes: u64,
    pub(crate) coalesce: bool,
    pub(crate) send_before_durable: bool,
}

/// An open session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) owner: OwnerOrder,
}

/// A body in memory only until it is durable.
#[derive(Debug)]
pub(crate) struct Spill {
    pub(crate) write: u64,
    pub(crate) twin: TwinIndex,
    pub(crate) class: Class,
    pub(crate) key: u64,
}

/// The answer to a `get`.
pub(crate) type GetReply = oneshot::Sender<Result<Value, Refusal>>;

/// The state.
pub(crate) struct Core {
    pub(crate) rules: Rules,
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) twins: Vec<Twin>,
    pub(crate) by_id: HashMap<TwinId, TwinIndex>,
    pub(crate) writes: WriteQueue,
    pub(crate) wakes: Wakes,
    pub(crate) counters: Counters,
    pub(crate) dead: DeadLetters,
    pub(crate) positions: HashMap<Arc<str>, u64>,
    pub(crate) session: Option<Session>,
    /// The highest owner heard of: lower ones are refused.
    pub(crate) owner: OwnerOrder,
    /// The last refusal of a session, for people.
    pub(crate) session_refusal: Option<(String, String)>,
    /// Why the last session or attempt ended, for people.
    pub(crate) session_failure: Option<String>,
    pub(crate) closing: bool,

    next_key: u64,
    used_bytes: u64,
    messages: u64,
    window_bytes: u64,
    spills: VecDeque<Spill>,
    /// Twins with something to send, by the age of it; per class.
    ready: [BinaryHeap<Reverse<(u64, TwinIndex)>>; 2],
    /// Twins that wait for a write to be durable.
    held: Vec<TwinIndex>,
    /// Twins to look at again at a time.
    timers: BinaryHeap<Reverse<(Duration, TwinIndex)>>,
    attach_queue: VecDeque<TwinIndex>,
    detach_queue: VecDeque<(TwinId, Stay)>,
    attaches: HashMap<u64, Vec<(TwinIndex, Stay)>>,
    next_request: u64,
    batches: [HashMap<u64, Vec<Sent>>; 2],
    next_batch: [u64; 2],
    gets: HashMap<u64, GetReply>,
    get_queue: VecDeque<(u64, TwinId)>,
    changed: VecDeque<TwinIndex>,
    received: VecDeque<TwinIndex>,
    pub(crate) call_results: VecDeque<CallResult>,
    heartbeats: u64,
    random: u64,
    /// To read bodies that are not in memory; gone when the writer has ended, so that the file is free although receipts live on.
    pub(crate) db: Option<Arc<redb::Database>>,
}

/// Both classes.
pub(crate) const CLASSES: [Class; 2] = [Class::State, Class::Event];

/// Place of a class in pairs.
pub(crate) const fn lane_of(class: Class) -> usize {
    match class {
        Class::State => 0,
        Class::Event => 1,
    }
}

impl Core {
    /// As the file says.
    pub(crate) fn new(opened: Opened, rules: Rules, random: u64) -> Self {
        let mut core = Self {
            rules,
            outbox: opened.outbox,
            boot: opened.boot,
            twins: Vec::new(),
            by_id: HashMap::new(),
            writes: WriteQueue::default(),
            wakes: Wakes::default(),
            counters: Counters::default(),
            dead: opened.dead,
            positions: opened.positions.into_iter().map(|(source, position)| (source.into(), position)).collect(),
            session: None,
            owner: OwnerOrder::default(),
            session_refusal: None,
            session_failure: None,
            closing: false,
            next_key: 1,
            used_bytes: 0,
            messages: 0,
            window_bytes: 0,
            spills: VecDeque::new(),
            ready: Default::default(),
            held: Vec::new(),
            timers: BinaryHeap::new(),
            attach_queue: VecDeque::new(),
            detach_queue: VecDeque::new(),
            attaches: HashMap::new(),
            next_request: 1,
            batches: Default::default(),
            next_batch: [1, 1],
            gets: HashMap::new(),
            get_queue: VecDeque::new(),
            changed: VecDeque::new(),
            received: VecDeque::new(),
            call_results: VecDeque::new(),
            heartbeats: 0,
            random,
            db: Some(Arc::new(opened.db)),
        };
        for (id, row) in opened.twins {
            core.add_twin(Twin::load(id, &row));
        }
        for (key, header, row_bytes) in opened.messages {
            let index = match core.by_id.get(&header.twin) {
                Some(index) => *index,
                None => core.add_twin(Twin::new(header.twin)),
            };
            let weight = row_bytes as u64 + MESSAGE_OVERHEAD_BYTES;
            core.used_bytes += weight;
            core.messages += 1;
            core.next_key = key + 1;
            core.twins[index as usize].lanes[lane_of(header.class)].push(Pending {
                key,
                stay: header.stay,
                first: header.first,
                last: Seq::new(header.first.get() + header.more),
                weight,
                body_bytes: row_bytes,
                batch: 0,
                // It may have been sent before the restart.
                sent: true,
                hold: 0,
                windowed: false,
                body: None,
            });
        }
        core
    }

    fn add_twin(&mut self, twin: Twin) -> TwinIndex {
        let index = self.twins.len() as TwinIndex;
        self.by_id.insert(twin.id.clone(), index);
        self.twins.push(twin);
        index
    }

    pub(crate) fn twin(&self, id: &TwinId) -> Option<&Twin> {
        self.by_id.get(id).map(|index| &self.twins[*index as usize])
    }

    pub(crate) fn twin_mut(&mut self, index: TwinIndex) -> &mut Twin {
        &mut self.twins[index as usize]
    }

    /// Messages in the outbox.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// What they count against the cap, in bytes.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Does a body of this size fit into the window in memory? Counts it if so.
    fn take_window(&mut self, body_bytes: usize) -> bool {
        let fits = self.window_bytes + body_bytes as u64 <= WINDOW_BYTES_MAX;
        if fits {
            self.window_bytes += body_bytes as u64;
        }
        fits
    }

    /// A message left the outbox: its room is free, its row goes with the next commit.
    fn forget(&mut self, gone: &Pending) {
        if gone.windowed {
            self.window_bytes -= gone.body_bytes as u64;
        }
        if gone.key == 0 {
            return;
        }
        self.used_bytes -= gone.weight;
        self.messages -= 1;
        self.writes.push_lazy(Write::Remove { key: gone.key });
        self.wakes.writer = true;
        self.wakes.room = true;
    }

    /// The writer committed: bodies that were in memory only for it go, and what waited for it may go on.
    pub(crate) fn written(&mut self, now: Duration) {
        let durable = self.writes.durable();
        while self.spills.front().is_some_and(|spill| spill.write <= durable) {
            let Some(spill) = self.spills.pop_front() else { break };
            let lane = &mut self.twins[spill.twin as usize].lanes[lane_of(spill.class)];
            if let Some(index) = lane.position(spill.key)
                && let Some(pending) = lane.get_mut(index)
                && !pending.windowed
            {
                pending.body = None;
            }
        }
        for index in std::mem::take(&mut self.held) {
            self.twin_mut(index).held = false;
            self.refresh(index, now);
        }
        self.wakes.room = true;
    }

    /// The node has seen a higher boot of this outbox: the disk was rolled back, or copied. What this boot stamped is new, and
    /// goes on under a new identity; what older boots stamped may have been applied and overwritten since, so it is set aside.
    pub(crate) fn renew_outbox(&mut self, outbox: OutboxId, now: Duration) {
        self.outbox = outbox;
        let refusal = Refusal::Invalid {
            message: "the outbox was rolled back or copied: this was stamped by an earlier boot of it and may be older than what the \
                      twin holds; the outbox goes on under a new identity"
                .into(),
        };
        for index in 0..self.twins.len() as TwinIndex {
            for class in CLASSES {
                self.bury_where(index, class, &refusal, |boot, pending| pending.stay.boot < boot);
            }
            self.refresh(index, now);
        }
        let meta = OutboxMeta {
            format: crate::outbox::format::FORMAT_VERSION,
            outbox,
            boot: self.boot.get(),
            dead_letters_dropped: self.dead.dropped(),
        };
        self.writes.push(Write::Meta { row: encode_record(&meta) });
        self.wakes.writer = true;
    }

    /// 64 bits for jitter; not for secrets.
    pub(crate) fn draw(&mut self) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
