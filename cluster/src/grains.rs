//! The table of active grains: who is active, what waits for it, who goes when there is no room.
//!
//! Using a grain writes down when, and moves nothing: an order of use would cost every command some cache lines of its neighbours.
//! Where there is no room, a hand goes round the table and of the next few grains the one goes that was not used for longest.
//!
//! **Invariants**
//! - A grain leaves the table only when nobody has a turn with it, no command waits for it and its last commit
//!   is applied, so that whoever activates the twin next reads all of it; or it could not be loaded; or the whole table is thrown
//!   away with its generation.
//! - Nobody overtakes: a seat is taken in place only while no command waits, under the lock of the table's shard. Of commands that waited
//!   somebody may still be carrying out the last (`Active::waiting`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorRuntime, SpawnErr};
use tokio::runtime::Handle;
use tracing::Span;
use twin_core::clock::Clock;
use twin_core::command::Command;
use twin_core::grain::{Ask, Grain, Owner as _, Reply, SeatTaken, Turns};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;

use crate::activator::{Activator, Called, Message, refuse};
use crate::admission::Admitted;
use crate::cell::{Tenure, owner_changed};
use crate::limits::{ACTIVATORS, GRAIN_SHARDS, RETRY_BUSY_MS, ROOM_CANDIDATES};
use crate::stats::Counters;

/// What commands hold until they are answered: their bytes, shared by a batch.
pub type Admission = Arc<Admitted>;

/// What the commands of a batch share.
pub struct Shared {
    /// Their bytes.
    pub admission: Admission,
    /// The span that they are part of, if they are traced.
    pub span: Span,
}

struct Active {
    grain: Grain,
    used_at: Duration,
    /// Commands that wait, in their order. `None`: none does, and nobody is carrying out those that did. `Some`: the activator has the
    /// grain in hand. Boxed, as of most grains there are none.
    waiting: Option<Box<Waiting>>,
}

/// Commands in the order in which they came.
#[derive(Default)]
struct Waiting {
    asks: VecDeque<Ask<Admission>>,
}

/// What became of a try to take a seat.
enum Try {
    Taken(SeatTaken),
    /// Somebody has a turn; maybe the batch that asks.
    Held,
    /// Not active, or others wait already.
    Behind,
}

/// Grains for which the first command waits, by their activators.
type Calls = [Vec<Called>; ACTIVATORS];

/// A part of the table.
#[derive(Default)]
struct Shard {
    grains: IndexMap<TwinId, Active, RandomState>,
    /// Where room was last looked for.
    hand: usize,
}

/// The active grains of one owner.
pub struct Grains {
    shards: Vec<Mutex<Shard>>,
    active: AtomicUsize,
    shard_grains_max: usize,
    activators: Vec<ActorRef<Message>>,
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
}

impl Grains {
    /// An empty table for at most `grains_max` grains (spread over the shards, each with its share), and its activators on the runtime.
    pub fn new(
        grains_max: usize,
        clock: Arc<dyn Clock>,
        counters: Arc<Counters>,
        runtime: &Handle,
    ) -> Result<Self, SpawnErr> {
        let _runtime = runtime.enter();
        let activator = |_| Ok(ActorRuntime::spawn_instant(None, Activator, ())?.0);
        Ok(Self {
            shards: (0..GRAIN_SHARDS).map(|_| Mutex::default()).collect(),
            active: AtomicUsize::new(0),
            shard_grains_max: grains_max.div_ceil(GRAIN_SHARDS).max(1),
            activators: (0..ACTIVATORS).map(activator).collect::<Result<_, SpawnErr>>()?,
            clock,
            counters,
        })
    }

    /// What time it is by, for the grains and their owner.
    pub fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// Grains in memory now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn shard(&self, twin: &TwinId) -> &Mutex<Shard> {
        &self.shards[crate::slots::hash(twin) as usize % GRAIN_SHARDS]
    }

    /// Gives commands to their twins' grains, which are activated if they are not. Where a grain is free the command is carried
    /// out in place, otherwise it waits for its activator; commands for one twin are carried out in the order of the calls.
    /// `is_current` says whether `owner` still is the owner; it is asked under the shard's lock, so that no grain of an old
    /// owner can enter the table after it was thrown away.
    pub fn submit(
        &self,
        owner: &Arc<Tenure>,
        is_current: impl Fn() -> bool,
        commands: impl Iterator<Item = (TwinId, Command, Reply)>,
        Shared { admission, span }: Shared,
    ) {
        let now = self.clock.monotonic();
        let mut turns = Turns::new(owner, self.clock.wall());
        let mut calls = Calls::default();
        let mut count = 0;
        for (twin, command, reply) in commands {
            count += 1;
            let hash = crate::slots::hash(&twin) as usize;
            let shard = &self.shards[hash % GRAIN_SHARDS];
            // The seat is taken under the shard's lock: this is what orders the commands of one twin, and what keeps the
            // grain in the table.
            let mut tried = shard.lock().try_sit(&twin, now, &is_current);
            if matches!(tried, Try::Held) && !turns.is_empty() {
                // It may be this batch that holds the seat.
                turns.give();
                tried = shard.lock().try_sit(&twin, now, &is_current);
            }
            if let Try::Taken(seat) = tried {
                if turns.is_empty() {
                    turns.hold(admission.clone());
                }
                turns.take(seat, command, reply, &span);
                continue;
            }
            let ask = Ask { command, reply, admission: admission.clone(), span: span.clone() };
            let mut shard = shard.lock();
            // Answers leave outside the lock.
            match self.activated(&mut shard, owner, &is_current, &twin, now) {
                Ok(active) => calls[hash / GRAIN_SHARDS % ACTIVATORS].extend(active.wait(twin, ask)),
                Err(refusal) => {
                    drop(shard);
                    ask.reply.send(Err(refusal));
                }
            }
        }
        drop(turns);
        self.call(owner, calls);
        self.counters.commands.fetch_add(count, Ordering::Relaxed);
    }

    /// Tells the activators.
    fn call(&self, owner: &Arc<Tenure>, calls: Calls) {
        for (activator, called) in self.activators.iter().zip(calls) {
            if !called.is_empty()
                && let Err(error) = activator.send_message(Message::Called(owner.clone(), called))
            {
                refuse(error);
            }
        }
    }

    /// The twin's grain, which is put into the table if it is not there.
    fn activated<'a>(
        &self,
        shard: &'a mut Shard,
        owner: &Tenure,
        is_current: impl Fn() -> bool,
        twin: &TwinId,
        now: Duration,
    ) -> Result<&'a mut Active, Refusal> {
        if !is_current() {
            return Err(owner_changed());
        }
        if shard.grains.get(twin).is_none_or(|active| active.grain.is_broken()) {
            self.put_new(shard, owner, twin)?;
        }
        let active = shard.grains.get_mut(twin).ok_or_else(owner_changed)?;
        active.used_at = now;
        Ok(active)
    }

    /// Puts a new grain for the twin into the table.
    fn put_new(&self, shard: &mut Shard, owner: &Tenure, twin: &TwinId) -> Result<(), Refusal> {
        // A grain whose step panicked is broken but still listed: it is replaced, once all that it did before is applied and
        // the next one will read it, and nobody waits for it any more.
        if let Some(broken) = shard.grains.get(twin) {
            if !is_quiet(broken, owner) {
                return Err(owner_changed());
            }
            shard.grains.swap_remove(twin);
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        if shard.grains.len() >= self.shard_grains_max && !self.make_room(shard, owner) {
            let what = "the number of active twins".into();
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_BUSY_MS });
        }
        Counters::count(&self.counters.activations);
        self.active.fetch_add(1, Ordering::Relaxed);
        let active = Active { grain: Grain::default(), used_at: Duration::ZERO, waiting: None };
        shard.grains.insert(twin.clone(), active);
        Ok(())
    }

    /// Takes what waits for a grain in hand. Nothing, if the grain is not in the table any more: then it was answered.
    pub(crate) fn take_waiting(&self, Called { twin, grain }: &Called) -> VecDeque<Ask<Admission>> {
        let mut shard = self.shard(twin).lock();
        let active = shard.grains.get_mut(twin).filter(|active| active.grain.is(grain));
        active
            .and_then(|active| active.waiting.as_mut())
            .map(|waiting| std::mem::take(&mut waiting.asks))
            .unwrap_or_default()
    }

    /// Does anything wait for a grain in hand, once more? If not, it is in nobody's hand from now on.
    pub(crate) fn still_waits(&self, Called { twin, grain }: &Called) -> bool {
        let mut shard = self.shard(twin).lock();
        let Some(active) = shard.grains.get_mut(twin).filter(|active| active.grain.is(grain)) else { return false };
        let waits = active.waiting.as_ref().is_some_and(|waiting| !waiting.asks.is_empty());
        if !waits {
            active.waiting = None;
        }
        waits
    }

    /// A grain in hand is given up: what waits for it is refused, and it goes if it was not loaded. One that was stays, as what it did may not
    /// be applied yet.
    pub(crate) fn fail(&self, Called { twin, grain }: &Called, refusal: &Refusal) {
        // Not under the lock: whoever has the seat may wait for that.
        let is_loaded = grain.is_loaded();
        let mut shard = self.shard(twin).lock();
        let Some(active) = shard.grains.get_mut(twin).filter(|active| active.grain.is(grain)) else { return };
        let waiting = active.waiting.take();
        if !is_loaded {
            shard.grains.swap_remove(twin);
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        drop(shard);
        for ask in waiting.into_iter().flat_map(|waiting| waiting.asks) {
            ask.reply.send(Err(refusal.clone()));
        }
    }

    /// Passivates a grain of the shard that is quiet and was not used for long.
    fn make_room(&self, shard: &mut Shard, owner: &Tenure) -> bool {
        let Shard { grains, hand } = shard;
        let mut looked_at = 0;
        while looked_at < grains.len() {
            let candidates = ROOM_CANDIDATES.min(grains.len() - looked_at);
            looked_at += candidates;
            let mut oldest: Option<(usize, Duration)> = None;
            for _ in 0..candidates {
                *hand = if *hand + 1 < grains.len() { *hand + 1 } else { 0 };
                if let Some((_, active)) = grains.get_index(*hand)
                    && oldest.is_none_or(|(_, used_at)| active.used_at < used_at)
                    && is_quiet(active, owner)
                {
                    oldest = Some((*hand, active.used_at));
                }
            }
            if oldest.and_then(|(at, _)| grains.swap_remove_index(at)).is_some() {
                self.count_passivated();
                return true;
            }
        }
        false
    }

    fn count_passivated(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
        Counters::count(&self.counters.passivations);
    }

    /// Passivates grains that had no command for `idle_after`.
    pub fn passivate_idle(&self, owner: &Tenure, idle_after: Duration) {
        let Some(before) = self.clock.monotonic().checked_sub(idle_after) else { return };
        for shard in &self.shards {
            // Freed outside the lock.
            let mut gone = Vec::new();
            let mut shard = shard.lock();
            let grains = &mut shard.grains;
            // Backwards: what takes the place of one that goes was looked at before.
            for at in (0..grains.len()).rev() {
                let is_idle = |(_, active): (&TwinId, &Active)| active.used_at <= before && is_quiet(active, owner);
                if grains.get_index(at).is_some_and(is_idle) {
                    gone.extend(grains.swap_remove_index(at));
                    self.count_passivated();
                }
            }
            if grains.len() < grains.capacity() / 4 {
                grains.shrink_to(2 * grains.len());
            }
            drop(shard);
        }
    }

    /// Throws every grain away, with whatever waits for it.
    pub fn throw_away(&self) {
        for shard in &self.shards {
            let grains = std::mem::take(&mut shard.lock().grains);
            self.active.fetch_sub(grains.len(), Ordering::Relaxed);
        }
    }
}

impl Drop for Grains {
    fn drop(&mut self) {
        self.activators.iter().for_each(|activator| activator.stop(None));
    }
}

impl Shard {
    fn try_sit(&mut self, twin: &TwinId, now: Duration, is_current: impl Fn() -> bool) -> Try {
        let Some(active) = self.grains.get_mut(twin).filter(|active| active.waiting.is_none() && is_current()) else {
            return Try::Behind;
        };
        active.used_at = now;
        active.grain.try_sit().map_or(Try::Held, Try::Taken)
    }
}

impl Active {
    /// The command waits. If it is the first, the grain's activator must be called.
    fn wait(&mut self, twin: TwinId, ask: Ask<Admission>) -> Option<Called> {
        let is_first = self.waiting.is_none();
        self.waiting.get_or_insert_default().asks.push_back(ask);
        is_first.then(|| Called { twin, grain: self.grain.clone() })
    }
}

/// The span that the command is part of, if that is traced: a sampled batch or request, which carries a trace context. The
/// session's own span is always there, and following every message of it would cost more than the message.
pub fn sampled_span() -> Span {
    let current = Span::current();
    let sampled = current.metadata().is_some_and(|metadata| metadata.fields().field("traceparent").is_some());
    if sampled { current } else { Span::none() }
}

/// No command waits, nobody has a turn, and all that it did is applied.
fn is_quiet(active: &Active, owner: &Tenure) -> bool {
    active.waiting.is_none() && active.grain.is_applied(|ticket| owner.is_applied(ticket))
}
