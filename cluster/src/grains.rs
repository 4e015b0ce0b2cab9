//! The table of active grains: who is active, who goes when there is no room.
//!
//! **Invariant:** a grain leaves the table only when none of its commands is unanswered, so its last entry is applied and
//! whoever activates the twin next reads all of it; or the whole table is thrown away with its generation.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lru::LruCache;
use parking_lot::Mutex;
use ractor::{ActorRef, ActorRuntime};
use tokio::runtime::Handle;
use tracing::Span;
use twin_core::clock::Clock;
use twin_core::command::Command;
use twin_core::grain::{Ask, Grain, Owner, Reply};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;

use crate::admission::Admitted;
use crate::limits::{GRAIN_SHARDS, RETRY_BUSY_MS};
use crate::stats::Counters;

/// What the commands of a batch share.
#[derive(Clone)]
pub struct Shared {
    /// Their bytes.
    pub admitted: Arc<Admitted>,
    /// The span that they are part of, if they are traced.
    pub span: Span,
}

/// Held by every unanswered command: its bytes, and its place among its grain's pending commands.
pub struct Pending {
    /// Shared by the commands of a batch.
    _admitted: Arc<Admitted>,
    unanswered: Arc<AtomicUsize>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.unanswered.fetch_sub(1, Ordering::Release);
    }
}

struct Active {
    actor: ActorRef<Ask<Pending>>,
    unanswered: Arc<AtomicUsize>,
    used_at: Duration,
}

type Shard = Mutex<LruCache<TwinId, Active>>;

/// The active grains of one owner.
pub struct Grains {
    shards: Vec<Shard>,
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
            shards: (0..GRAIN_SHARDS).map(|_| Mutex::new(LruCache::unbounded())).collect(),
            active: AtomicUsize::new(0),
            shard_grains_max: grains_max.div_ceil(GRAIN_SHARDS).max(1),
            clock,
            counters,
            runtime,
        }
    }

    /// Grains in memory now.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    fn shard(&self, twin: &TwinId) -> &Shard {
        &self.shards[crate::slots::hash(twin) as usize % GRAIN_SHARDS]
    }

    /// Gives a command to the twin's grain, which is activated if it is not. Commands for one twin are carried out in the
    /// order of the calls. `is_current` says whether `owner` still is the owner; it is asked under the shard's lock, so that
    /// no grain of an old owner can enter the table after it was thrown away.
    pub fn submit<O: Owner<Admission = Pending>>(
        &self,
        owner: &Arc<O>,
        is_current: impl FnOnce() -> bool,
        twin: &TwinId,
        command: Command,
        reply: Reply,
        Shared { admitted, span }: Shared,
    ) {
        let mut shard = self.shard(twin).lock();
        if !is_current() {
            drop(shard);
            return reply.send(Err(crate::cell::owner_changed()));
        }
        let now = self.clock.monotonic();
        Counters::count(&self.counters.commands);
        if !shard.get_mut(twin).is_some_and(|active| is_alive(active))
            && let Err(refusal) = self.put_new(&mut shard, owner, twin, now)
        {
            drop(shard);
            return reply.send(Err(refusal));
        }
        let Some(active) = shard.peek_mut(twin) else { return };
        active.used_at = now;
        active.unanswered.fetch_add(1, Ordering::Acquire);
        let admission = Pending { _admitted: admitted, unanswered: active.unanswered.clone() };
        // Sent under the shard's lock: this is what orders the commands of one twin.
        let refused = active.actor.send_message(Ask { command, reply, admission, span });
        // If the actor is gone the ask comes back inside the error and is dropped outside the lock, which answers it.
        drop(shard);
        drop(refused);
    }

    /// Puts a new grain for the twin into the table.
    fn put_new<O: Owner<Admission = Pending>>(
        &self,
        shard: &mut LruCache<TwinId, Active>,
        owner: &Arc<O>,
        twin: &TwinId,
        now: Duration,
    ) -> Result<(), Refusal> {
        // A grain whose step panicked is dead but still listed: it is replaced.
        if shard.pop(twin).is_some() {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
        if shard.len() >= self.shard_grains_max && !self.make_room(shard) {
            let what = "the number of active twins".into();
            return Err(Refusal::Busy { what, retry_after_ms: RETRY_BUSY_MS });
        }
        let actor = self
            .activate(owner, twin)
            .map_err(|message| Refusal::Unavailable { message, retry_after_ms: RETRY_BUSY_MS })?;
        self.active.fetch_add(1, Ordering::Relaxed);
        shard.put(twin.clone(), Active { actor, unanswered: Arc::default(), used_at: now });
        Ok(())
    }

    fn activate<O: Owner<Admission = Pending>>(
        &self,
        owner: &Arc<O>,
        twin: &TwinId,
    ) -> Result<ActorRef<Ask<Pending>>, String> {
        let _runtime = self.runtime.enter();
        let grain = Grain::new(twin.clone(), owner.clone(), self.clock.clone());
        let (actor, _) = ActorRuntime::spawn_instant(None, grain, ()).map_err(|error| error.to_string())?;
        Counters::count(&self.counters.activations);
        Ok(actor)
    }

    /// Passivates the least recently used grain of the shard that has nothing unanswered.
    fn make_room(&self, shard: &mut LruCache<TwinId, Active>) -> bool {
        let idle = shard.iter().rev().find(|(_, active)| is_quiet(active)).map(|(twin, _)| twin.clone());
        let Some(active) = idle.and_then(|twin| shard.pop(&twin)) else { return false };
        self.passivate(&active);
        true
    }

    fn passivate(&self, active: &Active) {
        active.actor.stop(None);
        self.active.fetch_sub(1, Ordering::Relaxed);
        Counters::count(&self.counters.passivations);
    }

    /// Passivates grains that had no message for `idle_after`.
    pub fn passivate_idle(&self, idle_after: Duration) {
        let Some(before) = self.clock.monotonic().checked_sub(idle_after) else { return };
        for shard in &self.shards {
            let mut shard = shard.lock();
            let idle: Vec<TwinId> = shard
                .iter()
                .rev()
                .take_while(|(_, active)| active.used_at <= before)
                .filter(|(_, active)| is_quiet(active))
                .map(|(twin, _)| twin.clone())
                .collect();
            for twin in idle {
                if let Some(active) = shard.pop(&twin) {
                    self.passivate(&active);
                }
            }
        }
    }

    /// The twin's grain could not be loaded and has stopped.
    pub fn forget(&self, twin: &TwinId) {
        if self.shard(twin).lock().pop(twin).is_some() {
            self.active.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Throws every grain away, with whatever waits in it.
    pub fn throw_away(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.active.fetch_sub(shard.len(), Ordering::Relaxed);
            while let Some((_, active)) = shard.pop_lru() {
                active.actor.kill();
            }
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
    matches!(active.actor.get_status(), Running | Starting | Unstarted)
}

fn is_quiet(active: &Active) -> bool {
    active.unanswered.load(Ordering::Acquire) == 0
}
