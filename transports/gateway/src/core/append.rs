//! Taking what the application says: stamp, mirror, queue for the disk. A few microseconds; the fsync comes later, shared.

use std::sync::Arc;
use std::time::Duration;

use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};

use crate::core::twin::Twin;
use crate::core::{Core, Spill, TwinIndex, lane_of};
use crate::limits::{COALESCE_FROM_PERCENT, COALESCE_NEIGHBOURS_MAX, MESSAGE_OVERHEAD_BYTES, SOURCES_MAX, TWINS_MAX};
use crate::outbox::coalesce::coalesce;
use crate::outbox::format::{Body, Class, Header, encode_body, encode_row};
use crate::outbox::lane::Pending;
use crate::outbox::writer::Write;

/// Why the outbox does not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// At the cap.
    #[error(
        "the outbox is full: {used_bytes} of {cap_bytes} bytes; wait until the node has acked some, or raise the cap"
    )]
    Full {
        /// Bytes used.
        used_bytes: u64,
        /// The cap.
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

/// A message, validated and encoded, that has no number yet.
#[derive(Debug)]
pub(crate) struct Draft {
    pub(crate) twin: TwinId,
    pub(crate) body: Body,
    pub(crate) encoded: Vec<u8>,
    pub(crate) source: Option<(Arc<str>, u64)>,
}

impl Draft {
    pub(crate) fn new(twin: TwinId, body: Body, source: Option<(Arc<str>, u64)>) -> Self {
        let encoded = encode_body(&body);
        Self { twin, body, encoded, source }
    }

    fn class(&self) -> Class {
        match self.body {
            Body::Event(..) => Class::Event,
            Body::State(_) => Class::State,
        }
    }

    /// What it will count against the cap, a little too much rather than too little.
    fn weight(&self) -> u64 {
        self.encoded.len() as u64 + self.twin.as_str().len() as u64 + 32 + MESSAGE_OVERHEAD_BYTES
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

impl Core {
    /// Takes all messages, or none: then it gives them back.
    pub(crate) fn append(
        &mut self,
        drafts: Vec<Draft>,
        now: Duration,
    ) -> Result<Vec<Stamped>, (AppendError, Vec<Draft>)> {
        if let Err(error) = self.admit(&drafts) {
            self.heard(&drafts, now);
            return Err((error, drafts));
        }
        let mut stamped = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let index = match self.by_id.get(&draft.twin) {
                Some(index) => *index,
                None => self.add_twin(Twin::new(draft.twin.clone())),
            };
            stamped.push(self.append_one(index, draft, now));
        }
        self.wakes.writer = true;
        Ok(stamped)
    }

    /// A device whose message is refused was heard all the same. At the cap this matters: its older messages, which take the
    /// room, may be waiting for just that.
    fn heard(&mut self, drafts: &[Draft], now: Duration) {
        for draft in drafts {
            if let Some(index) = self.by_id.get(&draft.twin).copied() {
                self.twin_mut(index).stays.heard();
                self.refresh(index, now);
            }
        }
    }

    fn admit(&self, drafts: &[Draft]) -> Result<(), AppendError> {
        if self.closing {
            return Err(AppendError::ShutDown);
        }
        if let Some(message) = self.writes.failed() {
            return Err(AppendError::Disk { message: Arc::clone(message) });
        }
        let (used_bytes, cap_bytes) = (self.used_bytes, self.rules.cap_bytes);
        let size_bytes = drafts.iter().map(Draft::weight).sum::<u64>();
        if size_bytes > cap_bytes {
            return Err(AppendError::TooLarge { size_bytes, cap_bytes });
        }
        if used_bytes + size_bytes > cap_bytes {
            return Err(AppendError::Full { used_bytes, cap_bytes });
        }
        // Counted too high where a new one occurs twice: refused a little early, never late.
        let new_twins = drafts.iter().filter(|draft| !self.by_id.contains_key(&draft.twin)).count();
        if self.twins.len() + new_twins > TWINS_MAX && new_twins > 0 {
            return Err(AppendError::TooManyTwins { max: TWINS_MAX });
        }
        let mut last_of_list: Option<(&Arc<str>, u64)> = None;
        for (source, position) in drafts.iter().filter_map(|draft| draft.source.as_ref()) {
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

    fn append_one(&mut self, index: TwinIndex, draft: Draft, now: Duration) -> Stamped {
        let class = draft.class();
        let boot = self.boot;
        let twin = &mut self.twins[index as usize];
        let (stay, number) = match class {
            Class::State => {
                twin.serving = true;
                twin.stays.heard();
                twin.stays.stamp(boot)
            }
            Class::Event => {
                twin.last_event = twin.last_event.next();
                (Stay { boot, counter: 0 }, twin.last_event)
            }
        };
        let id = twin.id.clone();
        let (first, body, encoded, replaced) = self.coalesced(index, class, stay, number, draft.body, draft.encoded);
        let header = Header { twin: id, stay, first, more: number.get() - first.get(), class };
        let row = encode_row(&header, &encoded);
        let key = self.next_key;
        self.next_key += 1;
        for gone in replaced {
            self.forget(&gone);
            self.counters.coalesced += 1;
        }
        let weight = row.len() as u64 + MESSAGE_OVERHEAD_BYTES;
        self.used_bytes += weight;
        self.messages += 1;
        self.counters.appended += 1;
        let body_bytes = encoded.len();
        let write = self.writes.push(Write::Put { key, row });
        let mut hold = if self.rules.send_before_durable { 0 } else { write };
        if let Some((source, position)) = draft.source {
            // In the same commit as the message. And the message is not sent before: after a crash that forgets both, the
            // source says it again, which would then be a second effect.
            self.positions.insert(Arc::clone(&source), position);
            hold = self.writes.push(Write::Position { source, position });
        }
        let windowed = self.take_window(body_bytes);
        if !windowed {
            self.spills.push_back(Spill { write, twin: index, class, key });
        }
        self.twins[index as usize].lanes[lane_of(class)].push(Pending {
            key,
            stay,
            first,
            last: number,
            weight,
            body_bytes,
            batch: 0,
            sent: false,
            hold,
            windowed,
            body: Some(Arc::new(body)),
        });
        self.refresh(index, now);
        Stamped { twin: index, class, stay, number }
    }

    /// Near the cap, merges a report with the unsent ones right before it. The merged message covers all their numbers.
    fn coalesced(
        &mut self,
        index: TwinIndex,
        class: Class,
        stay: Stay,
        number: Seq,
        body: Body,
        encoded: Vec<u8>,
    ) -> (Seq, Body, Vec<u8>, Vec<Pending>) {
        let near = self.used_bytes * 100 >= self.rules.cap_bytes * COALESCE_FROM_PERCENT;
        let mut replaced = Vec::new();
        let Body::State(StateBody::Report(mut ops)) = body else { return (number, body, encoded, replaced) };
        if !near || !self.rules.coalesce {
            return (number, Body::State(StateBody::Report(ops)), encoded, replaced);
        }
        let mut first = number;
        while replaced.len() < COALESCE_NEIGHBOURS_MAX {
            let Some(before) = self.twins[index as usize].lanes[lane_of(class)].last_unsent() else { break };
            if before.sent || before.stay != stay || before.last.next() != first {
                break;
            }
            // Most of a long backlog is on disk only; near the cap a read under the lock is the smaller evil.
            let before = before.clone();
            let Some(Body::State(StateBody::Report(older))) = self.body_of(&before) else { break };
            let Some(merged) = coalesce(&older, &ops) else { break };
            ops = merged;
            first = before.first;
            let Some(gone) = self.twins[index as usize].lanes[lane_of(class)].pop_unsent_back() else { break };
            replaced.push(gone);
        }
        let body = Body::State(StateBody::Report(ops));
        let encoded = if replaced.is_empty() { encoded } else { encode_body(&body) };
        (first, body, encoded, replaced)
    }
}
