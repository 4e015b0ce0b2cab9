//! Taking what the application says: stamp, mirror, queue for the disk. A few microseconds; the fsync comes later, shared, or not at
//! all where the node's ack is quicker.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};

use crate::core::admission::AppendError;
use crate::core::twin::Twin;
use crate::core::{Core, TwinIndex, lane_of};
use crate::limits::{COALESCE_NEIGHBOURS_MAX, FLASH_GATHER_MAX, MESSAGE_OVERHEAD_BYTES, NEAR_ACK_MAX, PATIENCE_MIN};
use crate::outbox::body::{Body, decode_body, encode_body};
use crate::outbox::chunks::{ChunkIndex, Left};
use crate::outbox::coalesce::coalesce;
use crate::outbox::dictionary::{Dictionary, PathsNeeded};
use crate::outbox::format::Class;
use crate::outbox::lane::Pending;
use crate::outbox::queue::{Promise, Write};
use crate::outbox::row;

/// Messages, validated and encoded, that have no numbers yet.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    /// Their bodies, one after the other.
    pub(crate) bodies: Vec<u8>,
    pub(crate) items: Vec<Draft>,
}

/// One of them.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) twin: TwinId,
    pub(crate) class: Class,
    /// Where its body ends among the bodies.
    pub(crate) end: usize,
    /// How much of the dictionary of paths the body needs.
    pub(crate) paths: PathsNeeded,
    pub(crate) source: Option<(Arc<str>, u64)>,
    /// Found at admission.
    index: Option<TwinIndex>,
}

impl Draft {
    /// Its device, if it is known. Found at admission.
    pub(crate) fn index(&self) -> Option<TwinIndex> {
        self.index
    }
}

impl Drafts {
    /// With room for so many small ones.
    pub(crate) fn with_capacity(drafts: usize) -> Self {
        Self { bodies: Vec::with_capacity(drafts * 384), items: Vec::with_capacity(drafts) }
    }

    /// One message.
    pub(crate) fn one(twin: TwinId, body: &Body, dictionary: &RwLock<Dictionary>) -> Self {
        let mut drafts = Self::with_capacity(1);
        drafts.add(twin, body, dictionary);
        drafts
    }

    /// Encodes and appends a message.
    pub(crate) fn add(&mut self, twin: TwinId, body: &Body, dictionary: &RwLock<Dictionary>) {
        let paths = encode_body(body, &mut dictionary.write(), &mut self.bodies);
        self.push(twin, body.class(), paths, None);
    }

    /// The message whose body was just appended.
    pub(crate) fn push(&mut self, twin: TwinId, class: Class, paths: PathsNeeded, source: Option<(Arc<str>, u64)>) {
        self.items.push(Draft { twin, class, end: self.bodies.len(), paths, source, index: None });
    }

    /// Are they alarms, for which a share of the cap is kept?
    pub(crate) fn are_alarms(&self) -> bool {
        self.items.iter().all(|draft| draft.class == Class::Alarm)
    }

    /// What they will count against the cap, a little too much rather than too little.
    pub(crate) fn weight(&self) -> u64 {
        let headers = self.items.iter().map(|draft| draft.twin.as_str().len() as u64 + 48 + MESSAGE_OVERHEAD_BYTES);
        self.bodies.len() as u64 + headers.sum::<u64>()
    }
}

/// What a message was stamped with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamped {
    pub(crate) twin: TwinIndex,
    pub(crate) class: Class,
    pub(crate) stay: Stay,
    pub(crate) number: Seq,
}

/// Messages that the outbox took.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    pub(crate) stamped: Vec<Stamped>,
    /// That they are durable.
    pub(crate) promises: Promises,
}

/// Promises of the rows that messages lie in: of one, mostly.
#[derive(Debug, Default)]
pub(crate) struct Promises {
    last: Option<Arc<Promise>>,
    others: Vec<Arc<Promise>>,
}

impl Promises {
    fn push(&mut self, promise: Arc<Promise>) {
        self.others.extend(self.last.replace(promise));
    }

    #[cfg(test)]
    pub(crate) fn are_kept(&self) -> bool {
        self.others.iter().chain(&self.last).all(|promise| promise.is_kept())
    }

    /// Waits until all of them are kept.
    pub(crate) async fn wait(&self) -> Result<(), Arc<str>> {
        for promise in self.others.iter().chain(&self.last) {
            promise.wait().await?;
        }
        Ok(())
    }
}

impl Core {
    /// Takes all messages, or none: then it gives them back.
    pub(crate) fn append(&mut self, mut drafts: Drafts, now: Duration) -> Result<Appended, (AppendError, Drafts)> {
        for draft in &mut drafts.items {
            draft.index = self.by_id.get(&draft.twin).copied();
        }
        if let Err(error) = self.admit(&drafts, now) {
            self.heard(&drafts, now);
            return Err((error, drafts));
        }
        self.file_paths();
        let patience = self.patience();
        self.chunks.expect(drafts.bodies.len() + drafts.items.len() * 64, now + patience);
        let mut appended = Appended { stamped: Vec::with_capacity(drafts.items.len()), ..Appended::default() };
        let mut last_chunk = None;
        let mut all_sent = true;
        let mut begin = 0;
        for draft in drafts.items {
            let index = match draft.index.or_else(|| self.by_id.get(&draft.twin).copied()) {
                Some(index) => index,
                None => self.add_twin(Twin::new(draft.twin)),
            };
            let body = &drafts.bodies[begin..draft.end];
            begin = draft.end;
            let (stamped, chunk) = self.append_one(index, draft.class, body, draft.paths, draft.source, now);
            appended.stamped.push(stamped);
            if last_chunk.replace(chunk) != Some(chunk) {
                self.chunks.promise(chunk).into_iter().for_each(|promise| appended.promises.push(promise));
            }
            all_sent &= self.twins[index as usize].queued[lane_of(draft.class)];
        }
        if !all_sent && self.flash.scarcity() > 0.0 {
            self.writes.hasten(now + patience.min(FLASH_GATHER_MAX));
        } else if patience.is_zero() || !all_sent {
            self.writes.urge();
        }
        self.wakes.writer = true;
        Ok(appended)
    }

    /// How long a new row may wait for the node's ack instead of being written: see [`crate::outbox::queue`]. Not at all where
    /// there is no session, or the link is long: the disk is nearer then. Where acks take long although the node is near, it has
    /// much to do: as long as they take, up to what the options say. Writing rows would only take from the machine what their acks
    /// need, and from flash its life.
    pub(crate) fn patience(&self) -> Duration {
        self.stretched(self.usual_patience())
    }

    fn usual_patience(&self) -> Duration {
        if self.session.is_none() || !self.rules.send_before_durable {
            return Duration::ZERO;
        }
        match self.acks {
            // Half of them take longer than usual, and a message may have to wait for the batch before its own.
            Some(acks) if acks.quickest.min(self.round_trip) <= NEAR_ACK_MAX => {
                (4 * acks.usual).max(PATIENCE_MIN).min(self.rules.patience_max)
            }
            _ => Duration::ZERO,
        }
    }

    /// A device whose message is refused was heard all the same. At the cap this matters: its older messages, which take the
    /// room, may be waiting for just that.
    fn heard(&mut self, drafts: &Drafts, now: Duration) {
        for index in drafts.items.iter().filter_map(|draft| draft.index) {
            self.twin_mut(index).stays.heard();
            self.refresh(index, now);
        }
    }

    fn append_one(
        &mut self,
        index: TwinIndex,
        class: Class,
        body: &[u8],
        paths: PathsNeeded,
        source: Option<(Arc<str>, u64)>,
        now: Duration,
    ) -> (Stamped, ChunkIndex) {
        let boot = self.boot;
        let twin = &mut self.twins[index as usize];
        let (stay, number) = match class {
            Class::State => {
                twin.serving = true;
                twin.stays.heard();
                twin.stays.stamp(boot)
            }
            Class::Alarm => {
                twin.serving = true;
                twin.stays.heard();
                twin.stays.stamp_alarm(boot)
            }
            Class::Event => {
                twin.last_event = twin.last_event.next();
                (Stay { boot, counter: 0 }, twin.last_event)
            }
        };
        let mut merged = None;
        if self.merges() && class == Class::State {
            merged = self.coalesced(index, stay, number, body);
        }
        let (first, body, paths) =
            merged.as_ref().map_or((number, body, paths), |merged| (merged.first, &*merged.body, merged.paths));
        let key = self.next_key;
        self.next_key += 1;
        self.ages.appended(key, now);
        let stamp = row::Stamp { twin: &self.twins[index as usize].id, stay, first, last: number, class, paths };
        let laid = self.chunks.push(key, &stamp, body, &mut self.writes);
        // A merged message is never sent before it is durable: a crash would bring back what it replaced, and numbers that went
        // out with one content would go out with another.
        let overlaps = self.rules.send_before_durable && merged.is_none();
        let mut hold = if overlaps { 0 } else { laid.write };
        if let Some((source, position)) = source {
            // In the same commit as the message. And the message is not sent before: after a crash that forgets both, the
            // source says it again, which would then be a second effect.
            self.positions.insert(Arc::clone(&source), position);
            hold = self.writes.push(Write::Position { source, position });
        }
        let pending = Pending {
            key,
            chunk: laid.chunk,
            at: laid.at,
            body_bytes: body.len() as u32,
            row_bytes: laid.row_bytes,
            paths,
            stay,
            first,
            last: number,
            batch: 0,
            sent: false,
            hold,
            stand_in: None,
        };
        self.used_bytes += pending.weight();
        self.messages += 1;
        self.counters.appended += 1;
        self.twins[index as usize].lanes[lane_of(class)].push(pending);
        self.refresh(index, now);
        if class == Class::Alarm {
            self.expedite(index);
        }
        (Stamped { twin: index, class, stay, number }, laid.chunk)
    }

    /// Near the cap, merges a report with the unsent ones right before it. The merged message covers all their numbers, which
    /// is how a start after a crash knows that they are in it.
    fn coalesced(&mut self, index: TwinIndex, stay: Stay, number: Seq, body: &[u8]) -> Option<Merged> {
        let lane = lane_of(Class::State);
        let joins = |before: &&Pending, first: Seq| !before.sent && before.stay == stay && before.last.next() == first;
        self.twins[index as usize].lanes[lane].last_unsent().filter(|before| joins(before, number))?;
        let decoded = decode_body(Class::State, body, &self.dictionary.read()).ok()?;
        let Body::State(StateBody::Report(mut ops)) = decoded else { return None };
        let mut first = number;
        let mut replaced = 0;
        while replaced < COALESCE_NEIGHBOURS_MAX {
            let Some(before) =
                self.twins[index as usize].lanes[lane].last_unsent().filter(|b| joins(b, first)).cloned()
            else {
                break;
            };
            // Most of a long backlog is on disk only; near the cap a read under the lock is the smaller evil.
            let Some(Body::State(StateBody::Report(older))) = self.body_of(Class::State, &before) else { break };
            let Some(merged) = coalesce(&older, &ops) else { break };
            ops = merged;
            first = before.first;
            let Some(gone) = self.twins[index as usize].lanes[lane].pop_unsent_back() else { break };
            self.forget(&gone, Left::Merged);
            self.counters.coalesced += 1;
            replaced += 1;
        }
        if replaced == 0 {
            return None;
        }
        let mut body = Vec::new();
        let paths = encode_body(&Body::State(StateBody::Report(ops)), &mut self.dictionary.write(), &mut body);
        Some(Merged { first, body, paths })
    }
}

/// A report with those before it in it.
struct Merged {
    first: Seq,
    body: Vec<u8>,
    paths: PathsNeeded,
}
