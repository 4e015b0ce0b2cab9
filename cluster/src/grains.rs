//! The table of active grains: who is active, who goes when there is no room.
//!
//! Using a grain writes down when, and moves nothing: an order of use would cost every command some cache lines of its neighbours.
//! Where there is no room, a hand goes round the table and of the next few grains the one goes that was not used for longest.
//!
//! **Invariant:** a grain leaves the table only when nobody has a turn with it, no message waits for it and its last commit
//! is applied, so that whoever activates the twin next reads all of it; or the whole table is thrown away with its generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use indexmap::IndexMap;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tracing::Span;
use twin_core::clock::Clock;
use twin_core::command::Command;
use twin_core::grain::{Ask, Grain, GrainActor, Message, Owner, Reply, Turns};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;

use crate::admission::Admitted;
use crate::limits::{GRAIN_SHARDS, RETRY_BUSY_MS, ROOM_CANDIDATES};
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
    actor: ActorRef<Message<Admission>>,
    used_at: Duration,
}

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
    clock: Arc<dyn Clock>,
    counters: Arc<Counters>,
    // Grains live on the node's runtime, whichever thread asks: a grain spawned inside an actix handler would otherwise be
    // pinned to that worker.
    runtime: Handle,
}

impl Grains {
    /// An empty table for at most `grains_max` grains (spread over the shards, each with its share).
    pub fn new(grains_max: usize, clock: Arc<dyn Clock>, counters: Arc<Counters>, runtime: Handle) -> Self {
        Self {
            shards: (0..GRAIN_SHARDS).map(|_| Mutex::default()).collect(),
            active: AtomicUsize::new(0),
            shard_grains_max: grains_max.div_ceil(GRAIN_SHARDS).max(1),
            clock,
            counters,
            runtime,
        }
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
    /// out in place, otherwise it goes into the mailbox; commands for one twin are carried out in the order of the calls.
    /// `is_current` says whether `owner` still is the owner; it is asked under the shard's lock, so that no grain of an old
    /// owner can enter the table after it was thrown away.
    pub fn submit<O: Owner<Admission = Admission>>(
        &self,
        owner: &Arc<O>,
        is_current: impl Fn() -> bool,
        commands: impl Iterator<Item = (TwinId, Command, Reply)>,
        Shared { admission, span }: Shared,
    ) {
        let now = self.clock.monotonic();
        let mut turns = Turns::new(owner, self.clock.wall(), admission.clone(), span.clone());
        let mut count = 0;
        for (twin, command, reply) in commands {
            count += 1;
            let mut shard = self.shard(&twin).lock();
            // The seat is taken under the shard's lock: this is what orders the commands of one twin, and what keeps the
            // grain in the table.
            let seat = match shard.grains.get_mut(&twin) {
                Some(active) if is_current() => {
                    active.used_at = now;
                    active.grain.try_sit()
                }
                _ => None,
            };
            drop(shard);
            if let Some(seat) = seat {
                turns.take(seat, command, reply);
            } else {
                // It may be this batch that holds the seat.
                turns.give();
                let ask = Ask { command, reply, admission: admission.clone(), span: span.clone() };
                self.send(owner, &is_current, &twin, ask, now);
            }
        }
        self.counters.commands.fetch_add(count, Ordering::Relaxed);
    }

    /// Puts a command into the mailbox of the twin's grain, which is activated if it is not.
    fn send<O: Owner<Admission = Admission>>(
        &self,
        owner: &Arc<O>,
        is_current: impl Fn() -> bool,
        twin: &TwinId,
        ask: Ask<Admission>,
        now: Duration,
    ) {
        let mut shard = self.shard(twin).lock();
        let active =
            if is_current() { self.activated(&mut shard, owner, twin, now) } else { Err(crate::cell::owner_changed()) };
        // Answers leave outside the lock; also that of an ask which comes back as its actor is gone.
        match active {
            Ok(active) => {
                let sent = active.grain.send(&active.actor, ask);
                drop(shard);
                drop(sent);
            }
            Err(refusal) => {
                drop(shard);
                ask.reply.send(Err(refusal));
            }
        }
    }

    /// The twin's grain, which is put into the table if it is not there.
    fn activated<'a, O: Owner<Admission = Admission>>(
        &self,
        shard: &'a mut Shard,
        owner: &Arc<O>,
        twin: &TwinId,
        now: Duration,
    ) -> Result<&'a Active, Refusal> {
        if !shard.grains.get(twin).is_some_and(is_alive) {
            self.put_new(shard, owner, twin)?;
        }
        let Some(active) = shard.grains.get_mut(twin) else { return Err(crate::cell::owner_changed()) };
        active.used_at = now;
        Ok(active)
    }

    /// Puts a new grain for the twin into the table.
    fn put_new<O: Owner<Admission = Admission>>(
        &self,
        shard: &mut Shard,
        owner: &Arc<O>,
        twin: &TwinId,
    ) -> Result<(), Refusal> {
        // A grain whose step panicked is dead but still listed: it is replaced, once all that it did before is applied and
        // the next one will read it.
        if let Some(dead) = shard.grains.get(twin) {
            if !dead.grain.is_applied(|ticket| owner.is_applied(ticket)) {
                return Err(crate::cell::owner_changed());
            }
            dead.actor.kill();
            shard.grains.swap_remove(twin);
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        if shard.grains.len() >= self.shard_grains_max && !self.make_room(shard, &**owner) {
            let what = "the number of active twins".into();
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_BUSY_MS });
        }
        let (grain, actor) = self
            .activate(owner, twin)
            .map_err(|message| Refusal::Unavailable { message, retry_after_ms: RETRY_BUSY_MS })?;
        self.active.fetch_add(1, Ordering::Relaxed);
        shard.grains.insert(twin.clone(), Active { grain, actor, used_at: Duration::ZERO });
        Ok(())
    }

    fn activate<O: Owner<Admission = Admission>>(
        &self,
        owner: &Arc<O>,
        twin: &TwinId,
    ) -> Result<(Grain, ActorRef<Message<Admission>>), String> {
        let _runtime = self.runtime.enter();
        let grain = Grain::default();
        let actor = GrainActor::new(twin.clone(), owner.clone(), self.clock.clone(), grain.clone());
        let (actor, _) = ActorRuntime::spawn_instant(None, actor, ()).map_err(|error| error.to_string())?;
        Counters::count(&self.counters.activations);
        Ok((grain, actor))
    }

    /// Passivates a grain of the shard that is quiet and was not used for long.
    fn make_room(&self, shard: &mut Shard, owner: &impl Owner) -> bool {
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
            if let Some((_, active)) = oldest.and_then(|(at, _)| grains.swap_remove_index(at)) {
                self.passivate(&active);
                return true;
            }
        }
        false
    }

    fn passivate(&self, active: &Active) {
        active.actor.stop(None);
        self.active.fetch_sub(1, Ordering::Relaxed);
        Counters::count(&self.counters.passivations);
    }

    /// Passivates grains that had no message for `idle_after`.
    pub fn passivate_idle(&self, owner: &impl Owner, idle_after: Duration) {
        let Some(before) = self.clock.monotonic().checked_sub(idle_after) else { return };
        for shard in &self.shards {
            let grains = &mut shard.lock().grains;
            // Backwards: what takes the place of one that goes was looked at before.
            for at in (0..grains.len()).rev() {
                let is_idle = |(_, active): (&TwinId, &Active)| active.used_at <= before && is_quiet(active, owner);
                if grains.get_index(at).is_some_and(is_idle)
                    && let Some((_, active)) = grains.swap_remove_index(at)
                {
                    self.passivate(&active);
                }
            }
            if grains.len() < grains.capacity() / 4 {
                grains.shrink_to(2 * grains.len());
            }
        }
    }

    /// The twin's grain could not be loaded and has stopped.
    pub fn forget(&self, twin: &TwinId) {
        if self.shard(twin).lock().grains.swap_remove(twin).is_some() {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Throws every grain away, with whatever waits in it.
    pub fn throw_away(&self) {
        for shard in &self.shards {
            let grains = std::mem::take(&mut shard.lock().grains);
            self.active.fetch_sub(grains.len(), Ordering::Relaxed);
            grains.values().for_each(|active| active.actor.kill());
        }
    }
}

/// The span that the command is part of, if that is traced: a sampled batch or request, which carries a trace context. The
/// session's own span is always there, and following every message of it would cost more than the message.
pub fn sampled_span() -> Span {
    let current = Span::current();
    let sampled = current.metadata().is_some_and(|metadata| metadata.fields().field("traceparent").is_some());
    if sampled { current } else { Span::none() }
}

fn is_alive(active: &Active) -> bool {
    use ractor::ActorStatus::{Running, Starting, Unstarted};
    matches!(active.actor.get_status(), Running | Starting | Unstarted) && !active.grain.is_broken()
}

fn is_quiet(active: &Active, owner: &impl Owner) -> bool {
    active.grain.is_quiet(|ticket| owner.is_applied(ticket))
}
