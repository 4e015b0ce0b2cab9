//! One twin's messages of one class, in the order of their numbers: what is under way, what is next, what is done.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use twin_core::numbers::{Seq, Stay};

use crate::limits::MESSAGE_OVERHEAD_BYTES;
use crate::outbox::body::Body;
use crate::outbox::chunks::ChunkIndex;
use crate::outbox::dictionary::PathsNeeded;

/// A message in the outbox.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Its key in the file; 0: it stands for numbers that are gone and is in no file.
    pub(crate) key: u64,
    /// The stay that stamped it.
    pub(crate) stay: Stay,
    /// First number covered.
    pub(crate) first: Seq,
    /// Last number covered.
    pub(crate) last: Seq,
    /// The row that it lies in.
    pub(crate) chunk: ChunkIndex,
    /// Where its body begins there.
    pub(crate) at: u32,
    /// Length of its encoded body.
    pub(crate) body_bytes: u32,
    /// What it takes of the row.
    pub(crate) row_bytes: u32,
    /// How much of the dictionary of paths the body needs.
    pub(crate) paths: PathsNeeded,
    /// The batch that it is under way in; 0: in none.
    pub(crate) batch: u64,
    /// Was it ever sent? Then it is no more coalesced.
    pub(crate) sent: bool,
    /// The write that must be durable before it may be sent; 0: none.
    pub(crate) hold: u64,
    /// What it says in place of what lies in the row: that its numbers are lost.
    pub(crate) stand_in: Option<Arc<StandIn>>,
}

/// What goes in the place of content that is lost.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) body: Body,
    pub(crate) encoded: Bytes,
}

impl Pending {
    /// What it counts against the cap.
    pub(crate) fn weight(&self) -> u64 {
        if self.key == 0 { 0 } else { u64::from(self.row_bytes) + MESSAGE_OVERHEAD_BYTES }
    }
}

/// A queue whose first `cursor` messages are under way.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    queue: VecDeque<Pending>,
    cursor: usize,
}

impl Lane {
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn front(&self) -> Option<&Pending> {
        self.queue.front()
    }

    /// The last message, if it is not under way.
    pub(crate) fn last_unsent(&self) -> Option<&Pending> {
        if self.unsent() == 0 { None } else { self.queue.back() }
    }

    /// Likewise, to change it.
    pub(crate) fn last_unsent_mut(&mut self) -> Option<&mut Pending> {
        if self.unsent() == 0 { None } else { self.queue.back_mut() }
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Pending> {
        self.queue.get_mut(index)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Pending> + ExactSizeIterator {
        self.queue.iter()
    }

    /// The next message to send.
    pub(crate) fn next_unsent(&self) -> Option<&Pending> {
        self.queue.get(self.cursor)
    }

    /// Messages not under way.
    pub(crate) fn unsent(&self) -> usize {
        self.queue.len() - self.cursor
    }

    /// Appends. Keys and (stay, number) rise.
    pub(crate) fn push(&mut self, pending: Pending) {
        debug_assert!(self.queue.back().is_none_or(|last| (last.stay, last.last) < (pending.stay, pending.first)));
        self.queue.push_back(pending);
    }

    /// Takes back the last message, to coalesce it; never one that is under way.
    pub(crate) fn pop_unsent_back(&mut self) -> Option<Pending> {
        if self.unsent() == 0 { None } else { self.queue.pop_back() }
    }

    /// The next message goes out in this batch.
    pub(crate) fn send_next(&mut self, batch: u64) -> Option<&mut Pending> {
        let pending = self.queue.get_mut(self.cursor)?;
        pending.batch = batch;
        pending.sent = true;
        self.cursor += 1;
        Some(pending)
    }

    /// Where the message with this key is. Keys rise along the lane.
    pub(crate) fn position(&self, key: u64) -> Option<usize> {
        // Answers come in order, so it is the first one almost always.
        match self.queue.front() {
            Some(front) if front.key == key => Some(0),
            _ => self.queue.binary_search_by_key(&key, |pending| pending.key).ok(),
        }
    }

    /// Where the message is that was refused in this batch; `None` where the answer is stale, as the message has been
    /// taken back since, to be sent again.
    pub(crate) fn position_refused(&self, key: u64, batch: u64) -> Option<usize> {
        self.position(key).filter(|index| *index < self.cursor && self.queue[*index].batch == batch)
    }

    /// Everything from this index on is to be sent again. Answers still to come for it are stale.
    pub(crate) fn rewind(&mut self, index: usize) {
        for pending in self.queue.range_mut(index.min(self.cursor)..self.cursor) {
            pending.batch = 0;
        }
        self.cursor = self.cursor.min(index);
    }

    /// Removes the message at this index.
    pub(crate) fn remove(&mut self, index: usize) -> Option<Pending> {
        let removed = self.queue.remove(index)?;
        if index < self.cursor {
            self.cursor -= 1;
        }
        Some(removed)
    }

    /// Was a number that this lane once held acked or refused for good? Messages leave in order, so it is enough to look at
    /// the first one that is left.
    pub(crate) fn is_resolved(&self, stay: Stay, number: Seq) -> bool {
        self.queue.front().is_none_or(|front| (stay, number) < (front.stay, front.first))
    }

    /// Puts a message that stands for numbers that are gone before all others; it is sent next.
    pub(crate) fn push_gone(&mut self, stay: Stay, first: Seq, last: Seq, stand_in: Arc<StandIn>) {
        self.rewind(0);
        self.queue.push_front(Pending {
            key: 0,
            stay,
            first,
            last,
            chunk: 0,
            at: 0,
            body_bytes: stand_in.encoded.len() as u32,
            row_bytes: 0,
            paths: 0,
            batch: 0,
            sent: true,
            hold: 0,
            stand_in: Some(stand_in),
        });
    }

    /// Takes back the last message, whatever its state: another covers all its numbers.
    pub(crate) fn pop_covered(&mut self, stay: Stay, first: Seq) -> Option<Pending> {
        let covered = self.queue.back().is_some_and(|last| last.stay == stay && last.first >= first);
        if covered { self.queue.pop_back() } else { None }
    }

    /// Removes all messages that are meant; what is left is sent again.
    pub(crate) fn drain_where(&mut self, meant: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        self.rewind(0);
        let (gone, kept): (VecDeque<_>, VecDeque<_>) = self.queue.drain(..).partition(meant);
        self.queue = kept;
        gone.into()
    }
}

#[cfg(test)]
mod tests {
    use twin_core::command::StateBody;
    use twin_core::numbers::Boot;

    use super::*;

    const STAY: Stay = Stay { boot: Boot::new(1), counter: 1 };

    fn pending(n: u64) -> Pending {
        Pending {
            key: n,
            stay: STAY,
            first: Seq::new(n),
            last: Seq::new(n),
            chunk: 0,
            at: 0,
            body_bytes: 1,
            row_bytes: 1,
            paths: 0,
            batch: 0,
            sent: false,
            hold: 0,
            stand_in: None,
        }
    }

    fn lane(n: u64) -> Lane {
        let mut lane = Lane::default();
        (1..=n).for_each(|n| lane.push(pending(n)));
        lane
    }

    #[test]
    fn an_answer_from_before_a_rewind_is_stale() {
        let mut lane = lane(2);
        lane.send_next(1);
        lane.send_next(1);
        lane.rewind(0);
        assert_eq!(lane.position_refused(1, 1), None);
        lane.send_next(2);
        assert_eq!(lane.position_refused(1, 1), None);
        assert_eq!(lane.position_refused(1, 2), Some(0));
    }

    #[test]
    fn removing_keeps_the_cursor_at_the_next_unsent_message() {
        let mut lane = lane(3);
        lane.send_next(1);
        lane.send_next(1);
        lane.remove(0);
        assert_eq!(lane.next_unsent().unwrap().key, 3);
        assert!(lane.is_resolved(STAY, Seq::new(1)));
        assert!(!lane.is_resolved(STAY, Seq::new(2)));
    }

    #[test]
    fn a_message_under_way_is_never_taken_back() {
        let mut lane = lane(1);
        lane.send_next(1);
        assert!(lane.pop_unsent_back().is_none());
    }

    #[test]
    fn what_stands_for_gone_numbers_is_sent_first() {
        let mut lane = lane(3);
        lane.send_next(1);
        lane.remove(0);
        lane.send_next(1);
        let gone = StandIn { body: Body::State(StateBody::Lost), encoded: Bytes::new() };
        lane.push_gone(STAY, Seq::new(1), Seq::new(1), Arc::new(gone));
        assert_eq!(lane.next_unsent().unwrap().first, Seq::new(1));
        assert_eq!(lane.unsent(), 3);
    }
}
