//! Everything the gateway knows, as plain data behind one lock: inputs in, outputs out, no I/O and no clock of its own.
//!
//! [`append`] takes what the application says, if [`admission`] lets it, [`attaching`] brings stays to the node, [`sending`] makes batches and takes
//! their answers, [`refusals`] decides what becomes of what was refused, [`dead_letters`] what its owner does with it, [`desired`] keeps the way down. [`twin`] is one device;
//! [`ready`] says what may happen to it next, [`unwritten`] what is taken while nothing can be written.

pub(crate) mod admission;
pub(crate) mod ages;
pub(crate) mod append;
pub(crate) mod attaching;
pub(crate) mod calls;
pub(crate) mod counters;
pub(crate) mod dead_letters;
pub(crate) mod desired;
pub(crate) mod ready;
pub(crate) mod refusals;
pub(crate) mod report_status;
pub(crate) mod sending;
#[cfg(test)]
mod tests;
pub(crate) mod twin;
pub(crate) mod unwritten;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::RwLock;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, OutboxId, OwnerOrder, Seq, Stay};
use twin_core::refusal::Refusal;
use twin_transports::credit::Allowance;
use twin_transports::frames::device::CallResult;
use twin_transports::frames::session::FirstCredit;

use crate::core::ages::Ages;
use crate::core::counters::Counters;
use crate::core::dead_letters::ROLLED_BACK;
use crate::core::refusals::stand_in;
use crate::core::sending::{Acks, UnderWay};
use crate::core::twin::Twin;
use crate::health::GatewayHealth;
use crate::outbox::chunks::{Chunks, Left, lost_code};
use crate::outbox::database::OutboxDatabase;
use crate::outbox::dead_letters::DeadLetters;
use crate::outbox::dictionary::Dictionary;
use crate::outbox::file::Opened;
use crate::outbox::flash::Flash;
use crate::outbox::format::{Class, FlashRow, OutboxMeta, encode_record};
use crate::outbox::lane::Pending;
use crate::outbox::load::OpenedChunk;
use crate::outbox::queue::{Extent, Taken, Write, WriteQueue};
use crate::outbox::space::Space;
use crate::shared::Wakes;

/// Index of a device in this run.
pub(crate) type TwinIndex = u32;

/// What the options decide.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) cap_bytes: u64,
    pub(crate) coalesce: bool,
    pub(crate) send_before_durable: bool,
    pub(crate) patience_max: Duration,
    pub(crate) flash_bytes_per_day: Option<u64>,
}

/// An open session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    pub(crate) number: u64,
    pub(crate) owner: OwnerOrder,
    /// The node takes alarms.
    pub(crate) alarms: bool,
    /// What its streams may send at first, if the node gives credit.
    pub(crate) credit: Option<FirstCredit>,
}

/// The state.
pub(crate) struct Core {
    pub(crate) rules: Rules,
    pub(crate) outbox: OutboxId,
    pub(crate) boot: Boot,
    pub(crate) twins: Vec<Twin>,
    /// With a quick hash: the ids come from the application in this process, and there are at most
    /// [`TWINS_MAX`](crate::limits::TWINS_MAX) of them, so nobody gains by making them collide.
    pub(crate) by_id: HashMap<TwinId, TwinIndex, RandomState>,
    /// The outbox's paths by number. Taken after this state's own lock, never the other way round.
    pub(crate) dictionary: Arc<RwLock<Dictionary>>,
    /// So many of them are in the file, or on their way there.
    paths_filed: usize,
    pub(crate) chunks: Chunks,
    pub(crate) writes: WriteQueue,
    pub(crate) space: Arc<Space>,
    pub(crate) flash: Flash,
    /// Nothing can, or should, be written: see [`unwritten`].
    unwritten: bool,
    pub(crate) wakes: Wakes,
    pub(crate) counters: Counters,
    pub(crate) dead: DeadLetters,
    pub(crate) positions: HashMap<Arc<str>, u64>,
    pub(crate) session: Option<Session>,
    /// The highest owner heard of: lower ones are refused.
    pub(crate) owner: OwnerOrder,
    /// The last refusal of a session, for people.
    pub(crate) session_refusal: Option<(String, String)>,
    /// The last notice of the node in this run.
    pub(crate) notice: Option<(String, String)>,
    /// Why the last session or attempt ended, for people.
    pub(crate) session_failure: Option<String>,
    pub(crate) closing: bool,

    next_key: u64,
    used_bytes: u64,
    messages: u64,
    /// Twins with something to send, by the age of it; per class.
    ready: [BinaryHeap<Reverse<(u64, TwinIndex)>>; LANES],
    /// Twins that wait for a write to be durable.
    held: Vec<TwinIndex>,
    /// Twins to look at again at a time.
    timers: BinaryHeap<Reverse<(Duration, TwinIndex)>>,
    attach_queue: VecDeque<TwinIndex>,
    detach_queue: VecDeque<(TwinId, Stay)>,
    attaches: HashMap<u64, Vec<(TwinIndex, Stay)>>,
    next_request: u64,
    batches: [HashMap<u64, UnderWay>; LANES],
    next_batch: [u64; LANES],
    credit: [Allowance; LANES],
    /// `None`: no batch of this session was acked yet.
    acks: Option<Acks>,
    /// The shortest of the session's link.
    round_trip: Duration,
    changed: VecDeque<TwinIndex>,
    received: VecDeque<TwinIndex>,
    pub(crate) call_results: VecDeque<CallResult>,
    heartbeats: u64,
    ages: Ages,
    /// What the application knows of the box.
    pub(crate) health: GatewayHealth,
    random: u64,
    /// To read bodies that are not in memory; gone when the writer has ended, so that the file is free although receipts live on.
    pub(crate) db: Option<Arc<OutboxDatabase>>,
}

/// All classes, those first that go first.
pub(crate) const CLASSES: [Class; LANES] = [Class::Alarm, Class::State, Class::Event];

/// How many there are: each has a lane in a device, and a stream.
pub(crate) const LANES: usize = 3;

/// Place of a class in arrays.
pub(crate) const fn lane_of(class: Class) -> usize {
    match class {
        Class::State => 0,
        Class::Event => 1,
        Class::Alarm => 2,
    }
}

impl Core {
    /// As the file says.
    pub(crate) fn new(opened: Opened, rules: Rules, random: u64) -> Self {
        let mut core = Self {
            flash: Flash::load(rules.flash_bytes_per_day, opened.content.flash_left_bytes),
            unwritten: false,
            rules,
            outbox: opened.outbox,
            boot: opened.boot,
            twins: Vec::new(),
            by_id: HashMap::default(),
            paths_filed: opened.content.dictionary.paths().len(),
            dictionary: Arc::new(RwLock::new(opened.content.dictionary)),
            chunks: Chunks::default(),
            writes: WriteQueue::default(),
            space: opened.space,
            wakes: Wakes::default(),
            counters: Counters::default(),
            dead: opened.content.dead,
            positions: opened
                .content
                .positions
                .into_iter()
                .map(|(source, position)| (source.into(), position))
                .collect(),
            session: None,
            owner: OwnerOrder::default(),
            session_refusal: None,
            notice: None,
            session_failure: None,
            closing: false,
            next_key: 1,
            used_bytes: 0,
            messages: 0,
            ready: Default::default(),
            held: Vec::new(),
            timers: BinaryHeap::new(),
            attach_queue: VecDeque::new(),
            detach_queue: VecDeque::new(),
            attaches: HashMap::new(),
            next_request: 1,
            batches: Default::default(),
            next_batch: [1; LANES],
            credit: Default::default(),
            acks: None,
            round_trip: Duration::MAX,
            changed: VecDeque::new(),
            received: VecDeque::new(),
            call_results: VecDeque::new(),
            heartbeats: 0,
            ages: Ages::default(),
            health: GatewayHealth::default(),
            random,
            db: Some(Arc::new(opened.db)),
        };
        for (id, row) in opened.content.twins {
            core.add_twin(Twin::load(id, &row));
        }
        for chunk in opened.content.chunks {
            core.load(chunk);
        }
        core
    }

    /// Takes a chunk that the file holds. Of its messages those are done that the note says, that their device's row says, or
    /// whose numbers a later message covers, for they were coalesced into it.
    fn load(&mut self, opened: OpenedChunk) {
        let OpenedChunk { key: chunk_key, row_bytes, note, messages } = opened;
        let chunk = self.chunks.load(chunk_key, row_bytes, note.clone());
        self.next_key = self.next_key.max(chunk_key + 1);
        for (laid, header) in messages {
            let key = chunk_key + u64::from(laid.place);
            self.next_key = self.next_key.max(key + 1);
            let index = match self.by_id.get(&header.twin) {
                Some(index) => *index,
                None => self.add_twin(Twin::new(header.twin)),
            };
            let gone = note.as_ref().is_some_and(|note| note.gone.contains(&laid.place));
            if gone || self.twins[index as usize].is_done(header.class, header.stay) {
                continue;
            }
            let message = Pending {
                key,
                chunk,
                at: laid.body.start as u32,
                body_bytes: laid.body.len() as u32,
                row_bytes: laid.all.len() as u32,
                paths: header.paths,
                stay: header.stay,
                first: header.first,
                last: Seq::new(header.first.get() + header.more),
                batch: 0,
                // It may have been sent before the restart.
                sent: true,
                hold: 0,
                stand_in: lost_code(note.as_ref(), laid.place).map(|code| stand_in(header.class, &code)),
            };
            self.chunks.load_message(chunk, laid.place, message.row_bytes);
            self.used_bytes += message.weight();
            self.messages += 1;
            let lane = lane_of(header.class);
            while let Some(covered) = self.twins[index as usize].lanes[lane].pop_covered(header.stay, header.first) {
                self.forget(&covered, Left::Merged);
            }
            self.twins[index as usize].lanes[lane].push(message);
        }
        self.chunks.loaded(chunk, &mut self.writes);
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

    /// A message left the outbox: its room is free, its row goes once nothing in it is left.
    fn forget(&mut self, gone: &Pending, left: Left) {
        if gone.key == 0 {
            return;
        }
        self.used_bytes -= gone.weight();
        self.messages -= 1;
        self.chunks.done(gone.chunk, gone.key, gone.row_bytes, left, &mut self.writes);
        self.wakes.writer = true;
        self.wakes.room = true;
    }

    /// Is there anything for the writer that has no time of its own by which it is written?
    pub(crate) fn has_lazy_writes(&self) -> bool {
        self.writes.has_lazy() || self.chunks.is_stale()
    }

    /// What the writer commits next; `notes`: also those that could wait.
    pub(crate) fn take_writes(&mut self, extent: Extent, notes: bool) -> Taken {
        let upto = self.writes.upto(extent);
        // Of what grows in the queue only what is taken must be whole.
        if self.chunks.open_write().is_some_and(|write| write <= upto) {
            self.chunks.seal(&mut self.writes);
        }
        let mut writes = self.writes.take(upto);
        writes.extend(self.chunks.notes(notes, upto));
        if !writes.is_empty()
            && let Some(left_bytes) = self.flash.next_filed()
        {
            writes.push(Write::Flash { row: encode_record(&FlashRow { left_bytes }) });
        }
        Taken { writes, upto, file_bytes: self.chunks.file_bytes() }
    }

    /// Queues the paths that got numbers since, so that they are durable with the first message that uses them.
    fn file_paths(&mut self) {
        let dictionary = self.dictionary.read();
        for (index, path) in dictionary.paths().iter().enumerate().skip(self.paths_filed) {
            self.writes.push_lazy(Write::Path { index: index as u32, row: encode_record(path) });
        }
        self.paths_filed = dictionary.paths().len();
    }

    /// The writer committed everything up to this write: rows that were in memory only for it may go, and what waited for it may
    /// go on.
    pub(crate) fn written(&mut self, upto: u64, now: Duration) {
        self.writes.finished(upto);
        self.flash.advance(now, self.space.written_bytes());
        self.chunks.evict(self.writes.durable());
        for index in std::mem::take(&mut self.held) {
            self.twin_mut(index).held = false;
            self.refresh(index, now);
        }
        self.wakes.room = true;
    }

    /// No more writes will come. What is queued is written if there is room for it, and not waited for if there is none.
    pub(crate) fn close(&mut self) {
        self.writes.close();
        self.wakes.writer = true;
        self.space.give_up();
    }

    /// The node has seen a higher boot of this outbox: the disk was rolled back, or copied. What this boot stamped is new, and
    /// goes on under a new identity; what older boots stamped may have been applied and overwritten since, so it is set aside.
    pub(crate) fn renew_outbox(&mut self, outbox: OutboxId, now: Duration) {
        self.outbox = outbox;
        let refusal = Refusal::Invalid { message: ROLLED_BACK.into() };
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
