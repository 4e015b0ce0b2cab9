//! Admission by bytes, before any queue: what is admitted is bounded, so the queues behind it need no bound of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twin_core::refusal::Refusal;
use twin_storage::Pressure;

/// A budget of bytes shared by all commands of a node.
#[derive(Debug)]
pub struct Admission {
    admitted_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Admission {
    /// A budget of `limit_bytes`.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { admitted_bytes: AtomicUsize::new(0), limit_bytes })
    }

    /// Admits `bytes`, or `None` if they don't fit. A single command larger than everything is admitted when nothing else
    /// is, so that no command can starve.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Option<Admitted> {
        let before = self.admitted_bytes.fetch_add(bytes, Ordering::Relaxed);
        // The permit is made first: dropping it gives the bytes back.
        let permit = Admitted { admission: self.clone(), bytes };
        (before == 0 || before + bytes <= self.limit_bytes).then_some(permit)
    }

    /// Bytes admitted now.
    pub fn admitted_bytes(&self) -> usize {
        self.admitted_bytes.load(Ordering::Relaxed)
    }
}

/// Bytes that were admitted; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    bytes: usize,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.admitted_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What whoever wants to change rows is told when the storage has no room for them.
pub(crate) fn out_of(pressure: &Pressure) -> Refusal {
    let what = match pressure {
        Pressure::Dirty { .. } => "the budget for rows that wait for a checkpoint",
        Pressure::Log { .. } => "the budget for log that is not purged",
        Pressure::Disk { .. } => "the room on the node's disk",
    };
    Refusal::Busy { what: what.into(), retry_after_ms: pressure.retry_after().as_millis() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_budget_is_refused_and_changes_nothing() {
        let admission = Admission::new(100);
        let first = admission.admit(60).unwrap();
        assert!(admission.admit(41).is_none());
        assert_eq!(admission.admitted_bytes(), 60);
        let second = admission.admit(40).unwrap();
        drop(first);
        drop(second);
        assert_eq!(admission.admitted_bytes(), 0);
    }

    #[test]
    fn a_command_larger_than_the_budget_is_admitted_alone() {
        let admission = Admission::new(100);
        let large = admission.admit(1000).unwrap();
        assert!(admission.admit(1).is_none());
        drop(large);
        assert!(admission.admit(1).is_some());
    }
}
