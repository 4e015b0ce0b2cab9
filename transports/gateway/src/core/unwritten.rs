//! What is taken while nothing can be written to the outbox, or should not be: only what the node's ack will spare.
//!
//! `report` promises that what it returned for is durable, *here or with the node*. So where the disk has no room, or its flash no
//! budget, a message is still taken if nothing but its ack is needed to keep the promise: it can be sent at once, and everything
//! that the ack rests on is durable (see [`crate::outbox::queue`]). It lies in memory until then; if the link goes, its caller waits
//! for link or disk, promised nothing. Everything else is refused before it is stamped, with a time to try again.

use std::time::Duration;

use crate::core::admission::AppendError;
use crate::core::append::Drafts;
use crate::core::{Core, TwinIndex, lane_of};
use crate::limits::{
    DISK_FULL_RETRY_AFTER, FLASH_GATHER_MAX, FLASH_IDLE_FLUSH_MAX, FLASH_PATIENCE_MAX, HELD_LOOK_MAX, IDLE_FLUSH_AFTER,
    UNWRITTEN_BYTES_MAX,
};
use crate::outbox::format::Class;
use crate::stay::Link;

impl Core {
    /// Refuses what would need a write when there is no room for one, or no budget.
    pub(crate) fn admit_write(&mut self, drafts: &Drafts, size_bytes: u64, now: Duration) -> Result<(), AppendError> {
        self.flash.advance(now, self.space.written_bytes());
        let reserve = drafts.items.iter().all(|draft| draft.class != Class::State);
        let (full, allowed) = (self.space.is_full(), self.flash.allows(reserve));
        let unwritten = full || !allowed;
        if unwritten && !self.unwritten {
            // What was appended before needs its write; what comes must not share a row with it.
            self.chunks.seal(&mut self.writes);
        }
        self.unwritten = unwritten;
        if !unwritten || (self.is_spared(drafts, size_bytes) && (full || self.acks_come_in_time())) {
            return Ok(());
        }
        self.no_write(reserve).map_or(Ok(()), Err)
    }

    /// Why nothing can, or should, be written, if so; `reserve`: by those that may use it.
    pub(crate) fn no_write(&self, reserve: bool) -> Option<AppendError> {
        if self.space.is_full() {
            return Some(AppendError::NoRoom {
                path: self.space.path().to_owned(),
                retry_after_ms: DISK_FULL_RETRY_AFTER.as_millis() as u64,
            });
        }
        (!self.flash.allows(reserve)).then(|| AppendError::FlashBudget {
            day_bytes: self.rules.flash_bytes_per_day.unwrap_or_default(),
            retry_after_ms: self.flash.retry_after(reserve).as_millis() as u64,
        })
    }

    /// Is an ack all that these need?
    fn is_spared(&self, drafts: &Drafts, size_bytes: u64) -> bool {
        self.session.is_some()
            && self.rules.send_before_durable
            && self.writes.queued_bytes() + size_bytes <= UNWRITTEN_BYTES_MAX
            // There they would be merged, and a merged message is not sent before it is durable.
            && !self.is_near_cap()
            && drafts.items.iter().all(|draft| {
                draft.source.is_none() && draft.index().is_some_and(|index| self.goes_at_once(index, draft.class))
            })
    }

    fn goes_at_once(&self, index: TwinIndex, class: Class) -> bool {
        let twin = &self.twins[index as usize];
        let durable = self.writes.durable();
        let attached = || twin.stays.current().is_some_and(|stay| twin.stays.link() == Link::Attached(stay));
        let lane = &twin.lanes[lane_of(class)];
        (class != Class::State || attached())
            && twin.remembered <= durable
            && twin.fence <= durable
            && twin.oldest_boot().is_none_or(|boot| boot == self.boot)
            && lane.unsent() <= HELD_LOOK_MAX
            && lane.iter().rev().take(HELD_LOOK_MAX).all(|pending| pending.hold <= durable)
    }

    /// Are acks likely to come before patience ends? A session that has not acked anything yet is tried with one message at a
    /// time.
    fn acks_come_in_time(&self) -> bool {
        match self.acks {
            Some(acks) => 4 * acks.usual <= FLASH_PATIENCE_MAX,
            None => self.messages == 0,
        }
    }

    /// Patience is longer where flash is scarce: towards a node whose acks spare a write, and without one so that more goes into
    /// each commit.
    pub(crate) fn stretched(&self, patience: Duration) -> Duration {
        let scarcity = self.flash.scarcity();
        if scarcity <= 0.0 {
            return patience;
        }
        let longest = if self.session.is_some() && self.rules.send_before_durable {
            FLASH_PATIENCE_MAX
        } else {
            FLASH_GATHER_MAX
        };
        patience.max(longest.mul_f64(scarcity))
    }

    /// How long what nobody waits for may wait for a commit to ride along with.
    pub(crate) fn idle_flush_after(&self) -> Duration {
        IDLE_FLUSH_AFTER + FLASH_IDLE_FLUSH_MAX.mul_f64(self.flash.scarcity())
    }

    /// Should unsent reports of a device be merged? Near the cap; and where flash is scarce and nothing can be sent anyway, so that
    /// what is in the file, and is rewritten with its pages, stays small.
    pub(crate) fn merges(&self) -> bool {
        self.rules.coalesce && (self.is_near_cap() || (self.session.is_none() && self.flash.scarcity() > 0.0))
    }
}
