//! Admission by bytes, before any queue: what is admitted is bounded, so the queues behind it need no bound of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twin_core::limits::ALARM_RESERVE_PART;
use twin_core::refusal::Refusal;
use twin_storage::Pressure;

/// A budget of bytes shared by all commands of a node, and one beside it for alarms alone.
///
/// **Invariant:** nothing but alarms, and attaches that the gateway says an alarm waits for, is ever counted against the alarms' share, so
/// that a node full of all else takes them. Who says so untruly takes from that share and from nothing else, as who raises alarms does.
#[derive(Debug)]
pub struct Admission {
    common: Budget,
    alarms: Budget,
}

#[derive(Debug)]
struct Budget {
    admitted_bytes: AtomicUsize,
    limit_bytes: usize,
}

impl Budget {
    fn new(limit_bytes: usize) -> Self {
        Self { admitted_bytes: AtomicUsize::new(0), limit_bytes }
    }

    fn admitted_bytes(&self) -> usize {
        self.admitted_bytes.load(Ordering::Relaxed)
    }
}

impl Admission {
    /// A budget of `limit_bytes`, and one part in [`ALARM_RESERVE_PART`] of it more for alarms.
    pub fn new(limit_bytes: usize) -> Arc<Self> {
        let alarms = Budget::new(limit_bytes / ALARM_RESERVE_PART as usize);
        Arc::new(Self { common: Budget::new(limit_bytes), alarms })
    }

    /// Admits `bytes`, or `None` if they don't fit. A single command larger than everything is admitted when nothing else
    /// is, so that no command can starve.
    pub fn admit(self: &Arc<Self>, bytes: usize) -> Option<Admitted> {
        self.admit_as(bytes, false)
    }

    /// As [`Self::admit`], for alarms and what they wait for.
    pub fn admit_alarms(self: &Arc<Self>, bytes: usize) -> Option<Admitted> {
        self.admit_as(bytes, true)
    }

    fn admit_as(self: &Arc<Self>, bytes: usize, alarms: bool) -> Option<Admitted> {
        let budget = self.budget(alarms);
        let before = budget.admitted_bytes.fetch_add(bytes, Ordering::Relaxed);
        // The permit is made first: dropping it gives the bytes back.
        let permit = Admitted { admission: self.clone(), bytes, alarms };
        (before == 0 || before + bytes <= budget.limit_bytes).then_some(permit)
    }

    fn budget(&self, alarms: bool) -> &Budget {
        if alarms { &self.alarms } else { &self.common }
    }

    /// The budget without the alarms' share, and how full it is, in thousandths.
    pub fn load(&self) -> (u64, u64) {
        let limit_bytes = self.common.limit_bytes as u64;
        (limit_bytes, self.common.admitted_bytes() as u64 * 1000 / limit_bytes.max(1))
    }

    /// Bytes admitted now, alarms included.
    pub fn admitted_bytes(&self) -> usize {
        self.common.admitted_bytes() + self.alarms.admitted_bytes()
    }
}

/// Bytes that were admitted; given back when dropped.
#[derive(Debug)]
pub struct Admitted {
    admission: Arc<Admission>,
    bytes: usize,
    alarms: bool,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.budget(self.alarms).admitted_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
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
    fn a_full_budget_still_takes_alarms() {
        let admission = Admission::new(160);
        // Larger than everything, hence alone: not even that takes what is kept for alarms.
        let _all = admission.admit(1000).unwrap();
        assert!(admission.admit(1).is_none());
        let alarm = admission.admit_alarms(6).unwrap();
        let _other = admission.admit_alarms(4).unwrap();
        assert!(admission.admit_alarms(1).is_none(), "their share has an end, too");
        assert_eq!(admission.admitted_bytes(), 1010);
        drop(alarm);
        assert!(admission.admit_alarms(6).is_some());
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
