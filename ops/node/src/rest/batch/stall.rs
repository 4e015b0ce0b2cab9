//! What a batch does about a node that has no room, or no leader, at the moment: it waits, for a bounded time.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

/// Items that the core was too busy for, and how long the batch goes on waiting.
#[derive(Debug, Default)]
pub(super) struct Stall {
    waiting: BTreeSet<u64>,
    retry_at: Option<Instant>,
    give_up_at: Option<Instant>,
}

impl Stall {
    /// The core takes commands: patience begins anew.
    pub(super) fn is_over(&mut self) {
        self.give_up_at = None;
    }

    /// Is there patience left for waiting? It begins with the first such question.
    pub(super) fn has_patience(&mut self, now: Instant, patience: Duration) -> bool {
        now < *self.give_up_at.get_or_insert(now + patience)
    }

    /// The item is to be given to its twin again, at `at` at the soonest. Whether it is the first one.
    pub(super) fn add(&mut self, item: u64, at: Instant) -> bool {
        let is_first = self.waiting.is_empty();
        self.waiting.insert(item);
        self.retry_at = Some(self.retry_at.map_or(at, |known| known.max(at)));
        is_first
    }

    /// Do items wait? Nothing may be taken meanwhile, lest it overtake them.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the items are to be tried again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.is_waiting())
    }

    /// The items to try again, in their order, if it is time.
    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<u64> {
        if self.retry_at().is_none_or(|at| now < at) {
            return BTreeSet::new();
        }
        self.retry_at = None;
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn items_are_tried_again_in_order_once_it_is_time() {
        let now = Instant::now();
        let mut stall = Stall::default();
        assert!(stall.take_due(now).is_empty());
        assert!(stall.add(7, now + 50 * MS));
        assert!(!stall.add(3, now + 40 * MS));
        assert!(stall.take_due(now + 49 * MS).is_empty());
        assert_eq!(stall.take_due(now + 50 * MS).into_iter().collect::<Vec<_>>(), [3, 7]);
        assert!(!stall.is_waiting());
    }

    #[test]
    fn patience_ends_and_begins_anew_with_the_first_success() {
        let now = Instant::now();
        let mut stall = Stall::default();
        assert!(stall.has_patience(now, 10 * MS));
        assert!(stall.has_patience(now + 9 * MS, 10 * MS));
        assert!(!stall.has_patience(now + 10 * MS, 10 * MS));
        assert!(!stall.has_patience(now + 99 * MS, 10 * MS), "it is not given twice");
        stall.is_over();
        assert!(stall.has_patience(now + 99 * MS, 10 * MS));
    }
}
