//! A chain that waits for room on the disk.

use std::sync::atomic::{AtomicU64, Ordering};

use twin_core::grain::Ticket;
use twin_core::refusal::Refusal;

use crate::limits::RETRY_DISK_FULL_MS;

/// Up to which commit whoever waited was told that the outcome is not known.
///
/// **Invariant:** it is on before anybody is told, and until the last of those commits is applied or its generation has ended.
#[derive(Debug, Default)]
pub(crate) struct Stall(AtomicU64);

impl Stall {
    /// All up to this commit are answered. `true`: it was not on before.
    pub(crate) fn begin(&self, newest: Ticket) -> bool {
        self.0.fetch_max(newest.0, Ordering::AcqRel) < newest.0
    }

    /// Is one of them not applied?
    pub(crate) fn is_on(&self, applied: Ticket) -> bool {
        self.0.load(Ordering::Acquire) > applied.0
    }

    /// None of them is under way any more.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// What whoever waits for the log is told while it waits for room. Not a refusal for good, and not `Busy`, which says that nothing was
/// done: the change may yet be committed, once there is room.
pub(crate) fn disk_full() -> Refusal {
    Refusal::Unavailable {
        message: "the node's disk is full; a change that waits for room is committed once there is some, unless the node ends before".into(),
        retry_after_ms: RETRY_DISK_FULL_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_on_until_the_last_that_was_answered_is_applied() {
        let stall = Stall::default();
        assert!(!stall.is_on(Ticket(0)));
        assert!(stall.begin(Ticket(7)));
        assert!(!stall.begin(Ticket(7)), "once a stall");
        assert!(stall.is_on(Ticket(6)));
        assert!(!stall.is_on(Ticket(7)));
        assert!(stall.begin(Ticket(9)));
        stall.end();
        assert!(!stall.is_on(Ticket(0)), "a new generation has nothing of it");
    }
}
