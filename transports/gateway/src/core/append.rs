//! Taking what the application says: stamp, mirror, queue for the disk. A few microseconds; the fsync comes later, shared, or not at
//! all where the node's ack is quicker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::limits::ALARM_RESERVE_PART;
use twin_core::numbers::{Seq, Stay};

use crate::core::twin::Twin;
use crate::core::{Core, TwinIndex, lane_of};
use crate::limits::{
    COALESCE_FROM_PERCENT, COALESCE_NEIGHBOURS_MAX, FLASH_GATHER_MAX, GARBAGE_PART, MESSAGE_OVERHEAD_BYTES,
    NEAR_ACK_MAX, PATIENCE_MIN, REWRITES_MAX, SOURCES_MAX, TWINS_MAX,
};
use crate::outbox::body::{Body, decode_body, encode_body};
use crate::outbox::chunks::{ChunkIndex, Left};
use crate::outbox::coalesce::coalesce;
use crate::outbox::dictionary::{Dictionary, PathsNeeded};
use crate::outbox::format::Class;
use crate::outbox::lane::Pending;
use crate::outbox::queue::{Promise, Write};
use crate::outbox::row;

/// Why the outbox does not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// At the cap, less what is kept for alarms where it is not an alarm.
    #[error(
        "the outbox is full: {used_bytes} of {cap_bytes} bytes; wait until the node has acked some, or raise the cap"
    )]
    Full {
        /// Bytes used.
        used_bytes: u64,
        /// The cap for messages of its class.
        cap_bytes: u64,
    },
    /// The message alone is larger than the cap.
    #[error("the messages have {size_bytes} bytes and the outbox has room for {cap_bytes} in all: raise the cap")]
    TooLarge {
        /// Their size.
        size_bytes: u64,
        /// The cap.
        cap_bytes: u64,
    },
    /// Too many devices.
    #[error("a gateway serves at most {max} devices; put the others behind another gateway")]
    TooManyTwins {
        /// The bound.
        max: usize,
    },
    /// Too many sources of positions.
    #[error("a gateway keeps the positions of at most {max} sources")]
    TooManySources {
        /// The bound.
        max: usize,
    },
    /// The position does not rise.
    #[error("position {position} of source {source_name:?} is not above {last}, which is durable: go on from there")]
    PositionNotAbove {
        /// Of which source.
        source_name: String,
        /// Given.
        position: u64,
        /// Known.
        last: u64,
    },
    /// The disk has no room, and the message would need some.
    #[error(
        "the disk of the outbox {} is full: make room; what was promised stays and goes on; try again in {retry_after_ms} ms",
        path.display()
    )]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The budget of bytes written to flash is used up, but for what is kept for events, and the message would need a write.
    #[error(
        "the flash budget of {day_bytes} bytes a day is used up: try again in {retry_after_ms} ms, let the node's acks spare the write,          or raise flash_bytes_per_day"
    )]
    FlashBudget {
        /// The budget.
        day_bytes: u64,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The disk failed.
    #[error("the outbox cannot be written: {message}; mend the disk and open the gateway again")]
    Disk {
        /// What happened.
        message: Arc<str>,
    },
    /// The gateway is closing.
    #[error("the gateway is shut down")]
    ShutDown,
}

impl AppendError {
    /// When trying again makes sense, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoRoom { retry_after_ms, .. } | Self::FlashBudget { retry_after_ms, .. } => {
                Some(Duration::from_millis(*retry_after_ms))
            }
            _ => None,
        }
    }
}

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
    fn are_alarms(&self) -> bool {
        self.items.iter().all(|draft| draft.class == Class::Alarm)
    }

    /// What they will count against the cap, a little too much rather than too little.
    fn weight(&self) -> u64 {
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

    fn admit(&mut self, drafts: &Drafts, now: Duration) -> Result<(), AppendError> {
        if self.closing {
            return Err(AppendError::ShutDown);
        }
        if let Some(message) = self.writes.failed() {
            return Err(AppendError::Disk { message: Arc::clone(message) });
        }
        // Whatever else fills the outbox, alarms still fit.
        let reserve_bytes = if drafts.are_alarms() { 0 } else { self.rules.cap_bytes / ALARM_RESERVE_PART };
        let cap_bytes = self.rules.cap_bytes - reserve_bytes;
        let size_bytes = drafts.weight();
        if size_bytes > cap_bytes {
            return Err(AppendError::TooLarge { size_bytes, cap_bytes });
        }
        // Before anything that reads the file: its writer may be stuck.
        self.admit_write(drafts, size_bytes, now)?;
        // What is done and still in the file takes room, too; it is the first to go.
        if self.chunks.garbage_bytes() > cap_bytes / GARBAGE_PART {
            self.rewrite(false);
        }
        if self.held_bytes() + size_bytes > cap_bytes {
            self.rewrite(true);
        }
        if self.held_bytes() + size_bytes > cap_bytes {
            return Err(AppendError::Full { used_bytes: self.held_bytes(), cap_bytes });
        }
        // Counted too high where a new one occurs twice: refused a little early, never late.
        let new_twins = drafts.items.iter().filter(|draft| draft.index.is_none()).count();
        if self.twins.len() + new_twins > TWINS_MAX && new_twins > 0 {
            return Err(AppendError::TooManyTwins { max: TWINS_MAX });
        }
        let mut last_of_list: Option<(&Arc<str>, u64)> = None;
        for (source, position) in drafts.items.iter().filter_map(|draft| draft.source.as_ref()) {
            let in_list = last_of_list.filter(|(other, _)| *other == source).map(|(_, position)| position);
            match in_list.or_else(|| self.positions.get(source).copied()) {
                Some(last) if *position <= last => {
                    return Err(AppendError::PositionNotAbove {
                        source_name: source.to_string(),
                        position: *position,
                        last,
                    });
                }
                None if self.positions.len() >= SOURCES_MAX => {
                    return Err(AppendError::TooManySources { max: SOURCES_MAX });
                }
                _ => {}
            }
            last_of_list = Some((source, *position));
        }
        Ok(())
    }

    /// The device, made if it is new.
    pub(crate) fn known(&mut self, id: &TwinId) -> Result<TwinIndex, AppendError> {
        if let Some(index) = self.by_id.get(id) {
            return Ok(*index);
        }
        if self.twins.len() >= TWINS_MAX {
            return Err(AppendError::TooManyTwins { max: TWINS_MAX });
        }
        Ok(self.add_twin(Twin::new(id.clone())))
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

    /// Is the outbox so full that unsent reports are merged?
    pub(crate) fn is_near_cap(&self) -> bool {
        self.used_bytes * 100 >= self.rules.cap_bytes * COALESCE_FROM_PERCENT
    }

    /// What counts against the cap: messages, and what of their rows is done.
    fn held_bytes(&self) -> u64 {
        self.used_bytes + self.chunks.garbage_bytes()
    }

    #[cfg(test)]
    pub(crate) fn rewrite_for_test(&mut self) {
        self.rewrite(true);
    }

    /// Rewrites some rows without what is done in them. `eager`: also where that is little.
    fn rewrite(&mut self, eager: bool) {
        self.chunks.seal(&mut self.writes);
        for chunk in self.chunks.wasteful(eager, REWRITES_MAX) {
            let Some(key) = self.chunks.key(chunk) else { continue };
            let read = || crate::outbox::file::read_row(self.db.as_ref()?, key).ok()?;
            let Some(old) = self.chunks.row(chunk).or_else(read) else { continue };
            let mut row = Vec::new();
            for laid in row::messages(key, &old).map_while(Result::ok) {
                let Ok(header) = row::decode_header(key, &old[laid.header.clone()]) else { continue };
                let message = key + u64::from(laid.place);
                let Some(index) = self.by_id.get(&header.twin).copied() else { continue };
                let lane = &mut self.twins[index as usize].lanes[lane_of(header.class)];
                // Only what is in a lane is not done.
                let Some(pending) = lane.position(message).and_then(|place| lane.get_mut(place)) else { continue };
                pending.at = (row.len() + laid.body.start - laid.all.start) as u32;
                row.extend_from_slice(&old[laid.all]);
            }
            self.chunks.rewritten(chunk, row, &mut self.writes);
            self.wakes.writer = true;
        }
    }
}

/// A report with those before it in it.
struct Merged {
    first: Seq,
    body: Vec<u8>,
    paths: PathsNeeded,
}
