//! Turns: commands carried out one after the other, and what they changed given to the owner together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use smallvec::SmallVec;
use tracing::Span;

use super::ask::Ask;
use super::done::{Done, Ready, Settled};
use super::owner::{Change, Owner, Ticket};
use super::reply::Reply;
use super::seat::{Seat, SeatTaken, Turned};
use crate::command::Command;
use crate::limits::{TURNS_BYTES_MAX, TURNS_MAX};
use crate::numbers::WallTime;
use crate::refusal::Refusal;

/// The turns of a batch. Whoever brings a batch only ever *tries* seats ([`Grain::try_sit`](super::Grain::try_sit)), so that two batches
/// cannot wait for each other; and all are held until what changed is given to the owner, which keeps the order of each twin's
/// changes.
pub struct Turns<'a, O: Owner> {
    /// And whether the turn changed something.
    seats: Vec<(SeatTaken, bool)>,
    outcomes: Outcomes<'a, O>,
}

impl<'a, O: Owner> Turns<'a, O> {
    /// No turns yet.
    pub fn new(owner: &'a Arc<O>, now: WallTime) -> Self {
        Self { seats: Vec::new(), outcomes: Outcomes::new(owner, now) }
    }

    /// No seats are held. Where some are, a seat that could not be taken may be one of them.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// What the commands of the turns since the last [`Turns::give`] hold until they are answered.
    pub fn hold(&mut self, admission: O::Admission) {
        self.outcomes.admissions.push(admission);
    }

    /// Carries out a command on the twin of the seat. With a `span`, the turn and its commit get one below it.
    pub fn take(&mut self, mut seat: SeatTaken, command: Command, reply: Reply, span: &Span) {
        let has_changed = self.outcomes.turn(&mut seat, command, reply, span);
        self.push(seat, has_changed);
    }

    /// Carries out commands that waited for the seat, in their order.
    pub fn take_all(&mut self, mut seat: SeatTaken, asks: impl IntoIterator<Item = Ask<O::Admission>>) {
        let mut has_changed = false;
        for (at, Ask { command, reply, admission, span }) in asks.into_iter().enumerate() {
            // This turn rests on the one before, which the owner must know of first.
            if at > 0
                && let Some(ticket) = self.give().filter(|_| has_changed)
            {
                seat.committed_as(ticket);
            }
            self.hold(admission);
            has_changed = self.outcomes.turn(&mut seat, command, reply, &span);
        }
        self.push(seat, has_changed);
    }

    fn push(&mut self, seat: SeatTaken, has_changed: bool) {
        self.seats.push((seat, has_changed));
        if self.seats.len() >= TURNS_MAX || self.outcomes.bytes >= TURNS_BYTES_MAX {
            self.give();
        }
    }

    /// Gives what changed to the owner, and the seats back. The ticket of what changed, if something did.
    pub fn give(&mut self) -> Option<Ticket> {
        let ticket = self.outcomes.give();
        for (mut seat, has_changed) in self.seats.drain(..) {
            if let Some(ticket) = ticket.filter(|_| has_changed) {
                seat.committed_as(ticket);
            }
        }
        ticket
    }
}

impl<O: Owner> Drop for Turns<'_, O> {
    fn drop(&mut self) {
        self.give();
    }
}

/// What turns brought and is not yet given to the owner.
struct Outcomes<'a, O: Owner> {
    owner: &'a Arc<O>,
    now: WallTime,
    /// See [`Turns::hold`].
    admissions: SmallVec<[O::Admission; 1]>,
    spans: Vec<Span>,
    changes: Vec<Change>,
    /// Of the changed rows.
    bytes: usize,
    /// Answers to what changed something.
    changed: SmallVec<[Settled; 1]>,
    /// Answers that rest on applied state alone.
    at_rest: SmallVec<[Settled; 1]>,
    /// Answers that rest on changes in flight.
    in_flight: SmallVec<[Settled; 1]>,
}

impl<'a, O: Owner> Outcomes<'a, O> {
    fn new(owner: &'a Arc<O>, now: WallTime) -> Self {
        Self {
            owner,
            now,
            admissions: SmallVec::new(),
            spans: Vec::new(),
            changes: Vec::new(),
            bytes: 0,
            changed: SmallVec::new(),
            at_rest: SmallVec::new(),
            in_flight: SmallVec::new(),
        }
    }

    /// Carries out one command. True: it changed something, which waits for [`Outcomes::give`].
    ///
    /// A step that panics breaks its own grain and nobody else's: the rest of the batch goes on.
    fn turn(&mut self, seat: &mut Seat, command: Command, reply: Reply, parent: &Span) -> bool {
        let span = child_of(parent, || match seat.twin() {
            Some(twin) => tracing::info_span!(parent: parent, "grain", twin = %twin.id()),
            None => Span::none(),
        });
        let inside = span.enter();
        let turned = catch_unwind(AssertUnwindSafe(|| seat.turn(&**self.owner, command, self.now)));
        drop(inside);
        let Ok(Turned { answer, change }) = turned else {
            let message = "the command failed inside the twin; this is a fault of the node, see its log".into();
            reply.send(Err(Refusal::Unavailable { message, retry_after_ms: 1000 }));
            return false;
        };
        let settled = Settled { reply, answer };
        let Some(change) = change else {
            let rests_on_in_flight = seat.rests_on_in_flight(&**self.owner);
            if rests_on_in_flight { &mut self.in_flight } else { &mut self.at_rest }.push(settled);
            return false;
        };
        let commit = child_of(&span, || tracing::info_span!(parent: &span, "commit", rows = change.rows.len()));
        if change.delete_floor.is_some() {
            // The floor is raised in the same commit, which is this twin's alone.
            let ready = Ready {
                answers: SmallVec::from_buf([settled]),
                spans: vec![commit, span],
                admissions: self.admissions.clone(),
            };
            seat.committed_as(self.owner.commit(vec![change], Done::answer(ready)));
            return false;
        }
        if !span.is_none() {
            self.spans.extend([commit, span]);
        }
        self.bytes += change.rows.iter().filter_map(|(_, row)| row.as_ref()).map(bytes::Bytes::len).sum::<usize>();
        self.changes.push(change);
        self.changed.push(settled);
        true
    }

    /// Gives everything to the owner. The ticket of what changed, if something did.
    fn give(&mut self) -> Option<Ticket> {
        let admissions = std::mem::take(&mut self.admissions);
        self.confirm(false, &admissions);
        self.confirm(true, &admissions);
        if self.changes.is_empty() {
            return None;
        }
        self.bytes = 0;
        let ready =
            Ready { answers: std::mem::take(&mut self.changed), spans: std::mem::take(&mut self.spans), admissions };
        Some(self.owner.commit(std::mem::take(&mut self.changes), Done::answer(ready)))
    }

    fn confirm(&mut self, rests_on_in_flight: bool, admissions: &SmallVec<[O::Admission; 1]>) {
        let answers = if rests_on_in_flight { &mut self.in_flight } else { &mut self.at_rest };
        if !answers.is_empty() {
            let ready = Ready { answers: std::mem::take(answers), spans: Vec::new(), admissions: admissions.clone() };
            self.owner.confirm(rests_on_in_flight, Done::answer(ready));
        }
    }
}

fn child_of(parent: &Span, make: impl FnOnce() -> Span) -> Span {
    if parent.is_none() { Span::none() } else { make() }
}
