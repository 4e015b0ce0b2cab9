//! The seat of a grain: its twin, and the right to have a turn with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{ArcMutexGuard, Mutex, MutexGuard, RawMutex};

use super::owner::{Change, Owner, Ticket};
use crate::command::{Answer, Command};
use crate::numbers::{Floor, WallTime};
use crate::refusal::Refusal;
use crate::twin::{StepContext, Twin};

/// What a grain and whoever brings it commands share. Cheap to clone.
#[derive(Clone, Default)]
pub struct Grain {
    seat: Arc<Mutex<Seat>>,
    /// Messages that the actor has not finished.
    mailbox: Arc<AtomicUsize>,
}

/// A seat that is held without borrowing its grain.
pub type SeatTaken = ArcMutexGuard<RawMutex, Seat>;

/// What an active grain holds.
#[derive(Default)]
pub struct Seat {
    /// `None` until the first message loads it.
    twin: Option<Twin>,
    last_activity: WallTime,
    /// The last commit that this grain asked for.
    newest: Ticket,
    /// A turn began and did not end: its step panicked, and what is in memory is worth nothing.
    is_broken: bool,
}

/// What a turn brought.
pub(super) struct Turned {
    pub(super) answer: Result<Answer, Refusal>,
    pub(super) change: Option<Change>,
}

impl Grain {
    /// Takes the seat, if the twin is loaded, nobody has it and no message waits: so nobody is overtaken.
    pub fn try_sit(&self) -> Option<SeatTaken> {
        if self.mailbox.load(Ordering::Acquire) > 0 {
            return None;
        }
        self.seat.try_lock_arc().filter(|seat| seat.twin.is_some() && !seat.is_broken)
    }

    /// Waits for the seat, which is only ever held for a few turns and never across an await.
    pub(super) fn sit(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock()
    }

    /// One more message is on its way to the actor.
    pub(super) fn message_sent(&self) {
        self.mailbox.fetch_add(1, Ordering::Relaxed);
    }

    /// The actor is done with a message. Called with the seat held, so that whoever finds the mailbox empty comes after it.
    pub(super) fn message_done(&self) {
        self.mailbox.fetch_sub(1, Ordering::Release);
    }

    /// Nobody has a turn, no message waits, and everything it did is applied: the grain may go, and whoever activates the
    /// twin next reads all of it.
    pub fn is_quiet(&self, is_applied: impl FnOnce(Ticket) -> bool) -> bool {
        self.mailbox.load(Ordering::Acquire) == 0 && self.is_applied(is_applied)
    }

    /// Is everything applied that it did? Nobody has a turn now.
    pub fn is_applied(&self, is_applied: impl FnOnce(Ticket) -> bool) -> bool {
        self.seat.try_lock().is_some_and(|seat| is_applied(seat.newest))
    }

    /// A step of it panicked: the grain must be replaced.
    pub fn is_broken(&self) -> bool {
        // Whoever holds the seat now is inside a turn, which may yet end.
        self.seat.try_lock().is_some_and(|seat| seat.is_broken)
    }
}

impl Seat {
    pub(super) fn is_loaded(&self) -> bool {
        self.twin.is_some()
    }

    pub(super) fn put(&mut self, twin: Twin) -> &mut Twin {
        self.twin.insert(twin)
    }

    pub(super) fn twin_mut(&mut self) -> Option<&mut Twin> {
        self.twin.as_mut()
    }

    /// Does what the twin is now rest on a commit that is not applied yet?
    pub(super) fn rests_on_in_flight(&self, owner: &impl Owner) -> bool {
        !owner.is_applied(self.newest)
    }

    pub(super) fn committed_as(&mut self, ticket: Ticket) {
        self.newest = ticket;
    }

    /// Carries out one command.
    pub(super) fn turn(&mut self, owner: &impl Owner, command: Command, now: WallTime) -> Turned {
        // The actor may still have messages for a grain that broke meanwhile: on what it left nothing may be computed.
        let Some(twin) = self.twin.as_mut().filter(|_| !self.is_broken) else {
            let message = "the twin's grain is being replaced".into();
            return Turned { answer: Err(Refusal::Unavailable { message, retry_after_ms: 100 }), change: None };
        };
        self.is_broken = true;
        // Only a life that begins or ends asks for the floor, and all twins share its lock.
        let floor = if command.may_begin_or_end() { owner.floor(twin.id()) } else { Floor::default() };
        if is_activity(&command) {
            self.last_activity = now;
        }
        // Asked with the seat held: whoever began to watch and then read the twin is in this turn's past.
        let context = StepContext { now, floor, observed: owner.observed(twin.id()) };
        let step = match command {
            Command::Once(once) => twin.step_once(*once, owner.time(), context),
            command => twin.step(command, context),
        };
        let change = (!step.changed.is_empty()).then(|| Change {
            twin: twin.id().clone(),
            rows: twin.encode(step.changed),
            events: step.events,
            delete_floor: step.delete_floor,
        });
        self.is_broken = false;
        let mut answer = step.answer;
        if let Ok(answer) = &mut answer {
            answer.heard(self.last_activity);
        }
        Turned { answer, change }
    }
}

/// Does the command show that the device is alive?
fn is_activity(command: &Command) -> bool {
    matches!(
        command,
        Command::Attach { .. }
            | Command::State { .. }
            | Command::Report { .. }
            | Command::Alarm { .. }
            | Command::Event { .. }
    )
}
