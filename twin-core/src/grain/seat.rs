//! The seat of a grain: its twin, and the right to have a turn with it.

use std::sync::Arc;

use parking_lot::{ArcMutexGuard, Mutex, RawMutex};

use super::done::Done;
use super::owner::{Change, Owner, Ticket};
use crate::command::{Answer, CallEnd, Command};
use crate::numbers::{Floor, WallTime};
use crate::refusal::Refusal;
use crate::twin::{StepContext, Twin};

/// An active twin, shared by whoever brings it commands. Cheap to clone.
#[derive(Clone, Default)]
pub struct Grain(Arc<Mutex<Seat>>);

/// A seat that is held without borrowing its grain.
pub type SeatTaken = ArcMutexGuard<RawMutex, Seat>;

/// What an active grain holds.
#[derive(Default)]
pub struct Seat {
    /// `None` until it is loaded.
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
    /// Takes the seat, if the twin is loaded and nobody has it. To be asked only where no command waits: so nobody is overtaken.
    pub fn try_sit(&self) -> Option<SeatTaken> {
        self.0.try_lock_arc().filter(|seat| seat.twin.is_some() && !seat.is_broken)
    }

    /// Waits for the seat, which is only ever held for a few turns and never across an await.
    pub fn sit(&self) -> SeatTaken {
        self.0.lock_arc()
    }

    /// Puts the twin as it was read, and takes the seat.
    ///
    /// Method calls that were open when it was last active are closed: nobody waits for them here, nothing sends them again, and left
    /// open they would use up the twin's share of open calls. If that is not committed the grain is thrown away, and the next one
    /// closes them.
    pub fn settle_in(&self, owner: &impl Owner, loaded: Twin, now: WallTime) -> SeatTaken {
        let mut seat = self.sit();
        for change in close_stale_calls(seat.twin.insert(loaded), now) {
            seat.newest = owner.commit(vec![change], Done::call(|_| ()));
        }
        seat
    }

    /// Has the twin been read? Waits for the seat.
    pub fn is_loaded(&self) -> bool {
        self.0.lock().twin.is_some()
    }

    /// Is it the same grain, and not only one of the same twin?
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Is everything applied that it did? Nobody has a turn now. Where no command waits, either, it may go: whoever activates the twin
    /// next reads all of it.
    pub fn is_applied(&self, is_applied: impl FnOnce(Ticket) -> bool) -> bool {
        self.0.try_lock().is_some_and(|seat| is_applied(seat.newest))
    }

    /// A step of it panicked: the grain must be replaced.
    pub fn is_broken(&self) -> bool {
        // Whoever holds the seat now is inside a turn, which may yet end.
        self.0.try_lock().is_some_and(|seat| seat.is_broken)
    }
}

fn close_stale_calls(twin: &mut Twin, now: WallTime) -> Vec<Change> {
    let stale: Vec<_> = twin.stale_calls().iter().map(|open| open.call).collect();
    let close = |call| {
        let context = StepContext { now, floor: Floor::default(), observed: false };
        let step = twin.step(Command::CloseCall { call, end: CallEnd::Unknown }, context);
        let rows = twin.encode(step.changed);
        Change { twin: twin.id().clone(), rows, events: step.events, delete_floor: None }
    };
    stale.into_iter().map(close).collect()
}

impl Seat {
    pub(super) fn twin(&self) -> Option<&Twin> {
        self.twin.as_ref()
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
        // Commands may still wait for a grain that broke meanwhile: on what it left nothing may be computed.
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
