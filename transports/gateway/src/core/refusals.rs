//! What becomes of what the node refused. Either it is sent again later, or it is a dead letter and its numbers are declared
//! lost; in no case does it block anybody else.

use std::sync::Arc;
use std::time::Duration;

use twin_core::command::StateBody;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::refusal::Refusal;

use crate::backoff::jittered;
use crate::core::sending::Sent;
use crate::core::{CLASSES, Core, TwinIndex, lane_of};
use crate::limits::{REATTACH_AFTER, RETRY_AFTER_MAX, UNREGISTERED_RETRY};
use crate::outbox::body::{Body, decode_body, encode_body};
use crate::outbox::chunks::Left;
use crate::outbox::dead_letters::DeadLetter;
use crate::outbox::dictionary::Dictionary;
use crate::outbox::format::{Class, encode_record};
use crate::outbox::lane::{Pending, StandIn};
use crate::outbox::queue::Write;
use crate::stay::StayOutcome;

/// Name of the event that stands for one that was lost, so that those after it are not held up by the missing number.
pub const LOST_EVENT: &str = "twinmesh.lost";

impl Core {
    /// One message of a batch was refused.
    pub(crate) fn refused(&mut self, message: Sent, class: Class, batch: u64, refusal: Refusal, now: Duration) {
        let lane = &mut self.twins[message.twin as usize].lanes[lane_of(class)];
        let Some(index) = lane.position_refused(message.key, batch) else { return };
        // It and what follows it of this device goes again: in order, hence not before it.
        lane.rewind(index);
        let Some((stay, first)) = lane.next_unsent().map(|pending| (pending.stay, pending.first)) else { return };
        if let Refusal::Gap { next } = refusal {
            self.gap(message.twin, class, stay, first, next, now);
        } else if let Some(after) = refusal.retry_after() {
            let until = now + jittered(after.min(RETRY_AFTER_MAX), self.draw());
            self.twin_mut(message.twin).not_before[lane_of(class)] = until;
        } else {
            match class {
                Class::State => self.state_refused(message, stay, refusal, now),
                Class::Event => self.event_refused(message, refusal, now),
                Class::Alarm => self.alarm_refused(message, stay, refusal, now),
            }
        }
    }

    fn state_refused(&mut self, message: Sent, stay: Stay, refusal: Refusal, now: Duration) {
        match refusal {
            Refusal::NotAttached
            | Refusal::NotFound { .. }
            | Refusal::Superseded
            | Refusal::OtherSite { .. }
            | Refusal::Conflict { .. } => {
                let outcome = self.twin_mut(message.twin).stays.refused(stay, &refusal, now);
                self.settle_stay(message.twin, outcome);
            }
            refusal => {
                let lane = &self.twins[message.twin as usize].lanes[lane_of(Class::State)];
                let lost_already = lane.next_unsent().is_some_and(|pending| pending.stand_in.is_some());
                if lost_already {
                    // Not even that is taken: there is no way on for this stay.
                    self.settle_stay(message.twin, StayOutcome::Abandon(stay, refusal));
                } else {
                    self.lose(message, &refusal);
                }
            }
        }
    }

    /// An alarm is taken from every stay that the node knows, so only what it does not know, and what can never be, is refused.
    fn alarm_refused(&mut self, message: Sent, stay: Stay, refusal: Refusal, now: Duration) {
        match refusal {
            Refusal::NotAttached | Refusal::NotFound { .. } => {
                let outcome = self.twin_mut(message.twin).stays.alarm_refused(stay, &refusal, now);
                self.settle_stay(message.twin, outcome);
            }
            Refusal::Superseded | Refusal::OtherSite { .. } | Refusal::Conflict { .. } => {
                self.bury_where(message.twin, Class::Alarm, &refusal, |_, pending| pending.stay == stay);
            }
            refusal => {
                let lane = &self.twins[message.twin as usize].lanes[lane_of(Class::Alarm)];
                if lane.next_unsent().is_some_and(|pending| pending.stand_in.is_some()) {
                    // Not even word that it is lost is taken.
                    self.bury_where(message.twin, Class::Alarm, &refusal, |_, pending| pending.stay == stay);
                } else {
                    self.lose(message, &refusal);
                }
            }
        }
    }

    fn event_refused(&mut self, message: Sent, refusal: Refusal, now: Duration) {
        match refusal {
            // It may be registered at any time; the cap bounds what waits.
            Refusal::NotFound { .. } => {
                self.twin_mut(message.twin).not_before[lane_of(Class::Event)] = now + UNREGISTERED_RETRY;
            }
            Refusal::NotAttached | Refusal::Conflict { .. } => {
                // The twin may have forgotten this gateway and cannot tell whether the event is new. A new stay, attached,
                // is where the twin begins to count anew.
                let boot = self.boot;
                let twin = self.twin_mut(message.twin);
                twin.serving = true;
                twin.stays.retire();
                twin.stays.open(boot);
                twin.not_before[lane_of(Class::Event)] = now + REATTACH_AFTER;
            }
            Refusal::Superseded | Refusal::OtherSite { .. } => {
                self.bury_where(message.twin, Class::Event, &refusal, |_, pending| pending.key == message.key);
            }
            refusal => self.lose(message, &refusal),
        }
    }

    /// Does what an answer about a whole stay asks for.
    pub(crate) fn settle_stay(&mut self, index: TwinIndex, outcome: StayOutcome) {
        let StayOutcome::Abandon(stay, refusal) = outcome else { return };
        self.counters.stays_given_up += 1;
        let twin = &mut self.twins[index as usize];
        if twin.tells(refusal.code()) {
            tracing::warn!(twin = %twin.id, ?stay, %refusal, "a stay is given up; what it still held are dead letters (further ones of this device for this reason are counted only)");
        } else {
            tracing::debug!(twin = %twin.id, ?stay, %refusal, "a stay is given up");
        }
        self.bury_where(index, Class::State, &refusal, |_, pending| pending.stay == stay);
        // A stay that was attached once may still bring its alarms.
        if !self.twins[index as usize].stays.is_marked(stay) {
            self.bury_where(index, Class::Alarm, &refusal, |_, pending| pending.stay == stay);
        }
    }

    /// The node has not seen numbers before this message: goes back to them.
    fn gap(&mut self, index: TwinIndex, class: Class, stay: Stay, refused: Seq, next: Seq, now: Duration) {
        let lane = &mut self.twins[index as usize].lanes[lane_of(class)];
        let at = lane.iter().position(|p| p.stay == stay && p.last >= next);
        let first_held = lane.iter().find(|p| p.stay == stay).map(|p| p.first);
        match (at, first_held) {
            (_, Some(first)) if next < first => {
                // Acked once, and yet the node has it no more (a recovery), or it was never durable here. State that came
                // after is still good: the numbers are declared lost, so that it is not held up.
                let last = match class {
                    Class::State | Class::Alarm => Seq::new(first.get() - 1),
                    // Each event has one number.
                    Class::Event => next,
                };
                let lost = last.get() - next.get() + 1;
                tracing::warn!(twin = %self.twins[index as usize].id, ?stay, from = %next, to = %last, "the node knows these numbers no more, though it may have acked them (the twin was deleted, or the node restored): going on after them");
                self.counters.numbers_lost += lost;
                let body = stand_in(class, "gone");
                self.twin_mut(index).lanes[lane_of(class)].push_gone(stay, next, last, body);
            }
            (Some(at), _) if next != refused => lane.rewind(at),
            // A gap right before what the node says is next, or past all we have: it contradicts itself; not at full speed.
            _ => self.twin_mut(index).not_before[lane_of(class)] = now + REATTACH_AFTER,
        }
    }

    /// The message is a dead letter; in its place goes word that its numbers are lost. Both in one commit, and the word is not
    /// sent before: else a crash in between would leave a lost message with no dead letter.
    fn lose(&mut self, message: Sent, refusal: &Refusal) {
        let class = self.class_of(message);
        let twin = &mut self.twins[message.twin as usize];
        let lane = &mut twin.lanes[lane_of(class)];
        let Some(pending) = lane.position(message.key).and_then(|index| lane.get_mut(index)) else { return };
        let original = pending.clone();
        let stand_in = stand_in(class, refusal.code());
        pending.body_bytes = stand_in.encoded.len() as u32;
        pending.stand_in = Some(stand_in);
        self.bury(message.twin, class, &original, refusal);
        if original.key != 0 {
            self.chunks.lost(original.chunk, original.key, refusal.code(), &self.writes);
            let hold = self.writes.issued();
            let lane = &mut self.twins[message.twin as usize].lanes[lane_of(class)];
            if let Some(pending) = lane.position(message.key).and_then(|index| lane.get_mut(index)) {
                // The note goes in the commit that the dead letter is in.
                pending.hold = hold;
            }
        }
    }

    fn class_of(&self, message: Sent) -> Class {
        let lanes = &self.twins[message.twin as usize].lanes;
        let holds = |class: &Class| lanes[lane_of(*class)].position(message.key).is_some();
        CLASSES.into_iter().find(holds).unwrap_or(Class::Event)
    }

    /// All messages of the class that are meant are dead letters.
    pub(crate) fn bury_where(
        &mut self,
        index: TwinIndex,
        class: Class,
        refusal: &Refusal,
        meant: impl Fn(Boot, &Pending) -> bool,
    ) {
        let boot = self.boot;
        let gone = self.twin_mut(index).lanes[lane_of(class)].drain_where(|pending| meant(boot, pending));
        for pending in gone {
            if pending.key != 0 {
                self.bury(index, class, &pending, refusal);
            }
            self.forget(&pending, Left::Buried);
            self.raise_fence(index, pending.stay);
        }
    }

    fn bury(&mut self, index: TwinIndex, class: Class, pending: &Pending, refusal: &Refusal) {
        let letter = DeadLetter {
            twin: self.twins[index as usize].id.clone(),
            class,
            stay: pending.stay,
            first: pending.first,
            last: pending.last,
            code: refusal.code().to_owned(),
            message: refusal.to_string(),
            body: self.body_of(class, pending),
        };
        let row = encode_record(&letter);
        let buried = self.dead.bury(letter, row.len());
        let dropped = !buried.dropped_keys.is_empty();
        self.writes.push(Write::Bury { key: buried.key, row, dropped_keys: buried.dropped_keys });
        if dropped {
            self.writes.push(Write::DeadLetters { row: encode_record(&self.dead.count()) });
        }
        self.wakes.writer = true;
        self.counters.dead_lettered += 1;
        self.twin_mut(index).remember_refusal(class, pending.stay, pending.first, pending.last, refusal.clone());
    }

    /// What a message says, from the disk if need be.
    pub(crate) fn body_of(&mut self, class: Class, pending: &Pending) -> Option<Body> {
        if let Some(stand_in) = &pending.stand_in {
            return Some(stand_in.body.clone());
        }
        if self.chunks.is_open(pending.chunk) {
            self.chunks.seal(&mut self.writes);
        }
        let encoded = self.chunks.slice(pending.chunk, pending.at, pending.body_bytes).or_else(|| {
            // Rare, so a read under the lock does no harm.
            let filed = (self.chunks.key(pending.chunk)?, pending.key);
            crate::outbox::file::read_bodies(self.db.as_ref()?, &[filed]).ok()?.into_iter().next().flatten()
        })?;
        decode_body(class, &encoded, &self.dictionary.read())
            .inspect_err(|error| tracing::error!(%error, "a message is lost"))
            .ok()
    }
}

/// What stands for numbers whose content is lost.
pub(crate) fn stand_in(class: Class, code: &str) -> Arc<StandIn> {
    let body = match class {
        Class::State => Body::State(StateBody::Lost),
        Class::Alarm => Body::Alarm(None),
        Class::Event => Body::Event(LOST_EVENT.into(), code.into()),
    };
    let mut encoded = Vec::new();
    // It has no paths, so it needs no dictionary.
    encode_body(&body, &mut Dictionary::load([]), &mut encoded);
    Arc::new(StandIn { body, encoded: encoded.into() })
}
