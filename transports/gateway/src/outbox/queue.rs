//! What waits for the writer, in order, and how far that is durable.
//!
//! **Who waits for what.** Each row of messages has a [`Promise`], which is kept as soon as *either* its commit is durable *or*
//! the node has acked all of its messages: an ack says that the cell has committed them, which is more than this disk can say.
//! So where acks come quickly a row is not written at once but given until its `due` time; if all of it is acked by then it is
//! [spared](WriteQueue::spare) and never written. Otherwise it is written, and on its way to the node meanwhile. A commit takes
//! what is due and what stands before it, not what was queued a moment ago ([`WriteQueue::upto`]).
//!
//! **Why that is safe.** Nothing is told to the application, no message leaves the outbox and no promise is kept, on the ground of
//! anything that a crash could take back:
//! - A message that was sent, not acked and not written is forgotten by a crash. It was never promised. If it had its effect
//!   nevertheless, then under a stamp of this boot, and a boot stamps nothing again: the next one is durable before it stamps
//!   ([`super::file::open`]) and opens stays of its own.
//! - A row that is spared leaves nothing behind: neither its insertion nor its removal is written. What is written of older rows
//!   stands in the same order as before, and a range that is written again is a duplicate below the twin's mark.
//! - A row is neither spared nor its promise kept early where one of its messages left in any other way than by the ack of its own
//!   content: merged into a later one, or a dead letter (see `chunks.rs`). Then what it became must be durable first.
//! - Nor where the device's row, which says under which attachment it was acked, is not durable (`attaching.rs`).
//! - A message that may not be sent before it is durable (merged, or with a source's position) cannot be acked before, either.
//! - What is taken is always a beginning of the queue, and all of it if anything else than rows of messages and removals of such
//!   is queued (dead letters, devices' rows): what a row's fate rests on is never later than the row.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use twin_core::ids::TwinId;

/// One change of the file.
#[derive(Debug)]
pub(crate) enum Write {
    /// Messages that were appended together.
    Chunk {
        key: u64,
        row: Bytes,
        promise: Arc<Promise>,
    },
    /// What became of some of them.
    Note {
        key: u64,
        row: Vec<u8>,
    },
    /// All of them are done.
    Remove {
        key: u64,
        noted: bool,
    },
    Path {
        index: u32,
        row: Vec<u8>,
    },
    Twin {
        id: TwinId,
        row: Vec<u8>,
    },
    Position {
        source: Arc<str>,
        position: u64,
    },
    Bury {
        key: u64,
        row: Vec<u8>,
        dropped_keys: Vec<u64>,
    },
    /// Dead letters that are replayed or discarded.
    Unbury {
        keys: Vec<u64>,
    },
    /// How many dead letters there were.
    DeadLetters {
        row: Vec<u8>,
    },
    Meta {
        row: Vec<u8>,
    },
    /// What is left of the flash budget. Never queued: it goes with a commit.
    Flash {
        row: Vec<u8>,
    },
    /// A chunk that was done before its turn came: there is nothing to write.
    Spared,
}

impl Write {
    /// Kept once it is durable.
    pub(crate) fn promise(&self) -> Option<&Arc<Promise>> {
        match self {
            Self::Chunk { promise, .. } => Some(promise),
            _ => None,
        }
    }
}

/// That the messages of a row are durable, here or with the node: everybody whose append is in it waits here.
#[derive(Debug, Default)]
pub(crate) struct Promise {
    done: OnceLock<Result<(), Arc<str>>>,
    notify: Notify,
}

impl Promise {
    /// Waits until it is kept, or cannot be.
    pub(crate) async fn wait(&self) -> Result<(), Arc<str>> {
        loop {
            if let Some(done) = self.done.get() {
                return done.clone();
            }
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before looking again, so that a commit in between is not missed.
            notified.as_mut().enable();
            if let Some(done) = self.done.get() {
                return done.clone();
            }
            notified.await;
        }
    }

    /// The first word counts: what the node has committed is durable, whatever happens to this disk later.
    pub(crate) fn finish(&self, result: Result<(), Arc<str>>) {
        if self.done.set(result).is_ok() {
            self.notify.notify_waiters();
        }
    }

    #[cfg(test)]
    pub(crate) fn is_kept(&self) -> bool {
        matches!(self.done.get(), Some(Ok(())))
    }
}

/// What the writer commits next.
pub(crate) struct Taken {
    /// Without those that are spared.
    pub(crate) writes: Vec<Write>,
    /// Its last write.
    pub(crate) upto: u64,
    /// What all rows of messages take in the file, about.
    pub(crate) file_bytes: u64,
}

/// How much of the queue a commit takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// All of it.
    All,
    /// What nobody waits for, and what is before it: rows of messages have a time of their own.
    Idle,
    /// The rows that must be written by this time, and what is before them.
    Due(Duration),
}

/// Writes in order, and how far they are durable. Writes are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    /// The last of them is number `issued`.
    writes: VecDeque<Write>,
    /// Number of the last that is neither a new row of messages nor a removal; 0: none is queued.
    last_other: u64,
    /// Number of the last that is a removal; 0: none is queued.
    last_removal: u64,
    queued_bytes: u64,
    issued: u64,
    durable: u64,
    /// By when chunks must be written, oldest first; the first of them is neither taken nor spared.
    dues: VecDeque<(u64, Duration)>,
    urgent: bool,
    closing: bool,
    /// The writer sleeps until then.
    sleeps: Option<Duration>,
    failed: Option<Arc<str>>,
}

impl WriteQueue {
    /// Queues a write that can wait; returns its number.
    pub(crate) fn push_lazy(&mut self, write: Write) -> u64 {
        match &write {
            Write::Bury { row, .. } => self.queued_bytes += row.len() as u64,
            Write::Chunk { row, .. } => self.queued_bytes += row.len() as u64,
            _ => {}
        }
        match &write {
            Write::Remove { .. } => self.last_removal = self.issued + 1,
            _ => self.last_other = self.issued + 1,
        }
        self.put(write)
    }

    fn put(&mut self, write: Write) -> u64 {
        self.writes.push_back(write);
        self.issued += 1;
        self.issued
    }

    /// Queues a write that somebody waits for.
    pub(crate) fn push(&mut self, write: Write) -> u64 {
        self.urgent = true;
        self.push_lazy(write)
    }

    /// A place in the queue for a chunk whose row still grows: the write's number, for [`WriteQueue::fill`]. It is written at
    /// this time, unless it is spared. **Invariant:** it is filled before the queue is taken.
    pub(crate) fn reserve(&mut self, key: u64, promise: Arc<Promise>, due: Duration) -> u64 {
        // What is before it goes before it.
        self.dues.iter_mut().rev().take_while(|(_, other)| *other > due).for_each(|(_, other)| *other = due);
        let write = self.put(Write::Chunk { key, row: Bytes::new(), promise });
        self.dues.push_back((write, due));
        write
    }

    /// Where a write stands in the queue, if it does.
    fn place(&self, write: u64) -> Option<usize> {
        let before = self.issued - self.writes.len() as u64;
        let place = write.checked_sub(before + 1)? as usize;
        (place < self.writes.len()).then_some(place)
    }

    /// The row of a chunk that a place was reserved for.
    pub(crate) fn fill(&mut self, write: u64, filled: Bytes) {
        if let Some(Write::Chunk { row, .. }) = self.place(write).and_then(|place| self.writes.get_mut(place)) {
            *row = filled;
        }
    }

    /// A row that a place was reserved for grew by so much.
    pub(crate) fn grows(&mut self, bytes: u64) {
        self.queued_bytes += bytes;
    }

    /// A chunk is done. If it is not yet written it need not be; `false`: it is, or the writer is about to.
    pub(crate) fn spare(&mut self, write: u64) -> bool {
        let Some(place) = self.place(write) else { return false };
        let spared = std::mem::replace(&mut self.writes[place], Write::Spared);
        if let Write::Chunk { row, .. } = spared {
            self.queued_bytes -= row.len() as u64;
        }
        while matches!(self.writes.front(), Some(Write::Spared)) {
            self.writes.pop_front();
        }
        if self.writes.is_empty() {
            (self.last_other, self.last_removal) = (0, 0);
        }
        while self.dues.front().is_some_and(|(write, _)| !self.is_queued_chunk(*write)) {
            self.dues.pop_front();
        }
        true
    }

    fn is_queued_chunk(&self, write: u64) -> bool {
        self.place(write).is_some_and(|place| matches!(self.writes[place], Write::Chunk { .. }))
    }

    /// When the oldest chunk must be written that is not.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.dues.front().map(|(_, due)| *due)
    }

    /// Is somebody waiting for what is queued, now?
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// What is queued is written at this time at the latest.
    pub(crate) fn hasten(&mut self, by: Duration) {
        self.dues.iter_mut().for_each(|(_, due)| *due = (*due).min(by));
    }

    /// What is queued is waited for, now.
    pub(crate) fn urge(&mut self) {
        self.urgent |= !self.writes.is_empty();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Is anything queued that idle time is used for: anything but rows that have a time by which they are written?
    pub(crate) fn has_lazy(&self) -> bool {
        self.last_other.max(self.last_removal) > 0
    }

    /// The writer sleeps until then.
    pub(crate) fn sleeps(&mut self, until: Option<Duration>) {
        self.sleeps = until;
    }

    /// Would the writer come too late if nobody woke it? `waiting`: there is something for it, if nothing that is due.
    pub(crate) fn is_overslept(&self, waiting: bool) -> bool {
        let Some(until) = self.sleeps else { return false };
        self.urgent || self.closing || self.due().is_some_and(|due| due < until) || (waiting && until == Duration::MAX)
    }

    /// The last write queued so far.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// The last write that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    pub(crate) fn failed(&self) -> Option<&Arc<str>> {
        self.failed.as_ref()
    }

    /// The disk failed: nothing that is queued becomes durable.
    pub(crate) fn fail(&mut self, message: Arc<str>) {
        self.failed = Some(message);
    }

    /// No more writes will come: commit what there is and stop.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing
    }

    /// The last write that a commit takes.
    pub(crate) fn upto(&self, extent: Extent) -> u64 {
        if self.urgent || self.closing || self.last_other > 0 {
            return self.issued;
        }
        let last = match extent {
            Extent::All => self.issued,
            Extent::Idle => self.last_removal,
            Extent::Due(by) => self.dues.iter().take_while(|(_, due)| *due <= by).last().map_or(0, |(write, _)| *write),
        };
        last.max(self.durable)
    }

    /// Takes everything up to this write.
    pub(crate) fn take(&mut self, upto: u64) -> Vec<Write> {
        if upto >= self.issued {
            self.urgent = false;
            self.queued_bytes = 0;
            self.dues.clear();
            (self.last_other, self.last_removal) = (0, 0);
            return std::mem::take(&mut self.writes).into();
        }
        let before = self.issued - self.writes.len() as u64;
        let taken: Vec<Write> = self.writes.drain(..upto.saturating_sub(before) as usize).collect();
        for write in &taken {
            if let Write::Chunk { row, .. } = write {
                self.queued_bytes -= row.len() as u64;
            }
        }
        while self.dues.front().is_some_and(|(write, _)| *write <= upto || !self.is_queued_chunk(*write)) {
            self.dues.pop_front();
        }
        if self.last_removal <= upto {
            self.last_removal = 0;
        }
        taken
    }

    /// Everything up to this write is durable.
    pub(crate) fn finished(&mut self, upto: u64) {
        self.durable = upto;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(queue: &mut WriteQueue, key: u64, due_ms: u64) -> u64 {
        let write = queue.reserve(key, Arc::default(), Duration::from_millis(due_ms));
        queue.grows(3);
        queue.fill(write, Bytes::from_static(b"row"));
        write
    }

    #[test]
    fn a_spared_chunk_is_not_written_and_the_next_one_is_due() {
        let mut queue = WriteQueue::default();
        let lazy = queue.push_lazy(Write::Remove { key: 9, noted: false });
        let (first, second) = (chunk(&mut queue, 1, 10), chunk(&mut queue, 2, 20));
        assert_eq!((lazy, queue.due(), queue.queued_bytes()), (1, Some(Duration::from_millis(10)), 6));
        assert!(queue.spare(first));
        assert_eq!((queue.due(), queue.queued_bytes()), (Some(Duration::from_millis(20)), 3));
        let upto = queue.upto(Extent::All);
        let writes = queue.take(upto);
        let keys = |write: &Write| match write {
            Write::Chunk { key, .. } | Write::Remove { key, .. } => Some(*key),
            _ => None,
        };
        assert_eq!(writes.iter().filter_map(keys).collect::<Vec<_>>(), [9, 2]);
        assert_eq!((upto, queue.due(), queue.is_empty()), (3, None, true));
        assert!(!queue.spare(second), "the writer has it");
    }

    #[test]
    fn when_all_is_spared_nothing_is_left_and_numbers_go_on() {
        let mut queue = WriteQueue::default();
        for round in 0..3 {
            let writes: Vec<u64> = (0..4).map(|key| chunk(&mut queue, key, round)).collect();
            // In any order: acks of different devices may overtake each other.
            for write in [writes[1], writes[3], writes[0], writes[2]] {
                assert!(queue.spare(write));
            }
            assert!(queue.is_empty() && queue.due().is_none() && queue.queued_bytes() == 0);
        }
        assert_eq!(queue.issued(), 12);
        assert!(!queue.spare(12) && !queue.spare(0));
    }

    #[test]
    fn a_commit_takes_what_is_due_and_what_is_before_it() {
        let mut queue = WriteQueue::default();
        let writes: Vec<u64> = [10, 20, 30].into_iter().map(|due| chunk(&mut queue, due, due)).collect();
        assert!(!queue.has_lazy());
        assert_eq!(queue.upto(Extent::Due(Duration::from_millis(20))), writes[1]);
        assert_eq!(queue.take(writes[1]).len(), 2);
        assert_eq!((queue.queued_bytes(), queue.due()), (3, Some(Duration::from_millis(30))));
        assert!(!queue.spare(writes[1]));
        // What nobody waits for does not take with it what has time.
        queue.push_lazy(Write::Remove { key: 10, noted: false });
        chunk(&mut queue, 40, 40);
        assert_eq!(queue.upto(Extent::Idle), writes[2] + 1);
        assert_eq!(queue.take(writes[2] + 1).len(), 2);
        assert!(!queue.has_lazy() && !queue.is_empty());
        // Where there is anything else, all goes.
        let other = queue.push_lazy(Write::Meta { row: Vec::new() });
        assert_eq!(queue.upto(Extent::Due(Duration::ZERO)), other);
    }

    #[test]
    fn a_row_is_due_no_later_than_those_behind_it() {
        let mut queue = WriteQueue::default();
        for due in [10, 50, 30] {
            chunk(&mut queue, due, due);
        }
        assert_eq!(queue.upto(Extent::Due(Duration::from_millis(29))), 1);
        assert_eq!(queue.upto(Extent::Due(Duration::from_millis(30))), 3);
    }

    #[test]
    fn the_writer_is_woken_only_if_it_would_come_too_late() {
        let mut queue = WriteQueue::default();
        chunk(&mut queue, 1, 10);
        assert!(!queue.is_overslept(true), "it is at work, and looks when it is done");
        queue.sleeps(Some(Duration::from_millis(10)));
        assert!(!queue.is_overslept(true));
        queue.sleeps(Some(Duration::MAX));
        assert!(queue.is_overslept(true));
        queue.sleeps(Some(Duration::from_millis(10)));
        queue.urge();
        assert!(queue.is_overslept(false));
    }

    #[tokio::test]
    async fn the_first_word_on_a_promise_counts() {
        let promise = Promise::default();
        assert!(!promise.is_kept());
        promise.finish(Ok(()));
        promise.finish(Err("the disk".into()));
        assert!(promise.is_kept() && promise.wait().await.is_ok());
    }
}
