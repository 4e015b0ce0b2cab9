//! May the outbox take what the application says? Nothing is changed before the answer, but that rows are rewritten without what is
//! done in them where that makes room.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use twin_core::ids::TwinId;
use twin_core::limits::ALARM_RESERVE_PART;

use crate::core::append::Drafts;
use crate::core::twin::Twin;
use crate::core::{Core, TwinIndex, lane_of};
use crate::limits::{COALESCE_FROM_PERCENT, GARBAGE_PART, REWRITES_MAX, SOURCES_MAX, TWINS_MAX};
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

impl Core {
    /// May these be appended? By the gateway's life, the disk, the cap, the flash budget, and the bounds of what is kept in mind.
    pub(crate) fn admit(&mut self, drafts: &Drafts, now: Duration) -> Result<(), AppendError> {
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
        let new_twins = drafts.items.iter().filter(|draft| draft.index().is_none()).count();
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
