//! What the storage still owes the disk, counted for admission.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why nothing may be proposed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Pressure {
    /// Applied rows wait for a checkpoint.
    #[error(
        "{used_bytes} bytes of applied rows wait for a checkpoint, the budget is {max_bytes}: try again after the next one"
    )]
    Dirty {
        /// Bytes waiting.
        used_bytes: u64,
        /// The budget.
        max_bytes: u64,
    },
    /// The log waits to be purged.
    #[error("{used_bytes} bytes of log are not purged, the budget is {max_bytes}: try again after the next purge")]
    Log {
        /// Bytes of log kept.
        used_bytes: u64,
        /// The budget.
        max_bytes: u64,
    },
}

/// Counts of the whole node against their bounds. Ask before proposing: what is proposed is never refused
/// for want of room, so the counts may pass a bound by what was in flight when it was reached.
#[derive(Debug)]
pub struct Budgets {
    dirty_bytes: AtomicU64,
    log_bytes: AtomicU64,
    dirty_bytes_max: u64,
    log_bytes_max: u64,
}

impl Budgets {
    pub(crate) fn new(dirty_bytes_max: u64, log_bytes_max: u64) -> Self {
        Self { dirty_bytes: AtomicU64::new(0), log_bytes: AtomicU64::new(0), dirty_bytes_max, log_bytes_max }
    }

    /// Applied rows that are not in a checkpoint, with their overhead in memory.
    pub fn dirty_bytes(&self) -> u64 {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// Encoded entries that are appended and not purged.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Budget of [`Self::dirty_bytes`].
    pub fn dirty_bytes_max(&self) -> u64 {
        self.dirty_bytes_max
    }

    /// Budget of [`Self::log_bytes`].
    pub fn log_bytes_max(&self) -> u64 {
        self.log_bytes_max
    }

    /// The pressure that would refuse `more_bytes`, if any.
    pub fn admit(&self, more_bytes: u64) -> Result<(), Pressure> {
        let (dirty, log) = (self.dirty_bytes(), self.log_bytes());
        if dirty.saturating_add(more_bytes) > self.dirty_bytes_max {
            return Err(Pressure::Dirty { used_bytes: dirty, max_bytes: self.dirty_bytes_max });
        }
        if log.saturating_add(more_bytes) > self.log_bytes_max {
            return Err(Pressure::Log { used_bytes: log, max_bytes: self.log_bytes_max });
        }
        Ok(())
    }

    /// Whether the log is past half its budget: time to snapshot and purge.
    pub fn should_purge(&self) -> bool {
        self.log_bytes() > self.log_bytes_max / 2
    }

    pub(crate) fn add_dirty(&self, bytes: u64) -> u64 {
        self.dirty_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    pub(crate) fn sub_dirty(&self, bytes: u64) {
        saturating_sub(&self.dirty_bytes, bytes);
    }

    pub(crate) fn add_log(&self, bytes: u64) {
        self.log_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub_log(&self, bytes: u64) {
        saturating_sub(&self.log_bytes, bytes);
    }
}

fn saturating_sub(count: &AtomicU64, bytes: u64) {
    let before = count.fetch_sub(bytes, Ordering::Relaxed);
    debug_assert!(before >= bytes, "a budget gave back {bytes} of {before} bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_budget_is_named_with_its_figures() {
        let budgets = Budgets::new(100, 1000);
        assert_eq!(budgets.admit(100), Ok(()));
        budgets.add_dirty(60);
        assert_eq!(budgets.admit(41), Err(Pressure::Dirty { used_bytes: 60, max_bytes: 100 }));
        budgets.sub_dirty(60);
        budgets.add_log(1000);
        assert_eq!(budgets.admit(1), Err(Pressure::Log { used_bytes: 1000, max_bytes: 1000 }));
        assert!(budgets.should_purge());
    }
}
