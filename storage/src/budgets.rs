//! What the storage still owes the disk, counted for admission.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::failure::DataFile;
use crate::limits::{ALARM_HEADROOM_PART, BUDGET_RETRY_AFTER, DISK_RETRY_AFTER, LOG_PURGE_BYTES};
use crate::space::Space;

/// Why nothing may be proposed now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The disk is full, or nearly so.
    #[error(
        "the disk of {directory} has {free_bytes} bytes left, and {reserve_bytes} are kept for what was accepted before: \
         make room on it, writes are taken again within seconds"
    )]
    Disk {
        /// Where the files are.
        directory: PathBuf,
        /// Bytes left.
        free_bytes: u64,
        /// The reserve, see [`crate::Options::disk_reserve_bytes`].
        reserve_bytes: u64,
    },
}

impl Pressure {
    /// When asking again makes sense.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Dirty { .. } | Self::Log { .. } => BUDGET_RETRY_AFTER,
            Self::Disk { .. } => DISK_RETRY_AFTER,
        }
    }
}

/// Counts of the whole node against their bounds. Ask before proposing: what is proposed is never refused
/// for want of room, so the counts may pass a bound by what was in flight when it was reached.
#[derive(Debug)]
pub struct Budgets {
    dirty_bytes: AtomicU64,
    log_bytes: AtomicU64,
    dirty_bytes_max: u64,
    log_bytes_max: u64,
    space: Arc<Space>,
}

impl Budgets {
    pub(crate) fn new(dirty_bytes_max: u64, log_bytes_max: u64, space: Arc<Space>) -> Self {
        let (dirty_bytes, log_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { dirty_bytes, log_bytes, dirty_bytes_max, log_bytes_max, space }
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

    /// Room on the disk, looked at now; `None` if that cannot be known.
    pub fn disk_free_bytes(&self) -> Option<u64> {
        self.space.look();
        self.space.free_bytes()
    }

    /// Whether nothing is admitted for want of room on the disk.
    pub fn disk_is_full(&self) -> bool {
        self.space.is_short()
    }

    /// Why nothing is admitted for want of room on the disk, if it is so, looked at now.
    pub fn disk_pressure(&self) -> Option<Pressure> {
        self.space.look();
        self.space.pressure()
    }

    /// Whether the log waits for room on the disk: proposals that are under way take until there is some, and no deadline should run
    /// meanwhile.
    pub fn log_waits_for_room(&self) -> bool {
        self.space.file_waits(DataFile::Journal)
    }

    /// How full the fuller of the two budgets is, in thousandths; 1000 where there is no room on the disk.
    pub fn fill_permille(&self) -> u64 {
        if self.space.is_short() {
            return 1000;
        }
        let fill = |used: u64, max: u64| used.saturating_mul(1000) / max.max(1);
        fill(self.dirty_bytes(), self.dirty_bytes_max).max(fill(self.log_bytes(), self.log_bytes_max))
    }

    /// The pressure that would refuse `more_bytes`, if any.
    pub fn admit(&self, more_bytes: u64) -> Result<(), Pressure> {
        self.admit_within(more_bytes, self.space.pressure(), self.dirty_bytes_max, self.log_bytes_max)
    }

    /// As [`Self::admit`], for alarms: what they may use lies above what all others may, and above what these had in flight when
    /// they reached their bound.
    pub fn admit_alarms(&self, more_bytes: u64) -> Result<(), Pressure> {
        let with_reserve = |max_bytes: u64| max_bytes.saturating_add(max_bytes / ALARM_HEADROOM_PART);
        let (dirty_bytes_max, log_bytes_max) = (with_reserve(self.dirty_bytes_max), with_reserve(self.log_bytes_max));
        self.admit_within(more_bytes, self.space.alarm_pressure(), dirty_bytes_max, log_bytes_max)
    }

    fn admit_within(
        &self,
        more_bytes: u64,
        disk: Option<Pressure>,
        dirty_bytes_max: u64,
        log_bytes_max: u64,
    ) -> Result<(), Pressure> {
        if let Some(pressure) = disk {
            return Err(pressure);
        }
        let (dirty, log) = (self.dirty_bytes(), self.log_bytes());
        if dirty.saturating_add(more_bytes) > dirty_bytes_max {
            return Err(Pressure::Dirty { used_bytes: dirty, max_bytes: dirty_bytes_max });
        }
        if log.saturating_add(more_bytes) > log_bytes_max {
            return Err(Pressure::Log { used_bytes: log, max_bytes: log_bytes_max });
        }
        Ok(())
    }

    /// Whether the log is long enough for a purge to be worth its while: time to snapshot. What is purged costs the same whenever that is;
    /// what is not, a start after a kill walks.
    pub fn should_purge(&self) -> bool {
        self.log_bytes() > LOG_PURGE_BYTES.min(self.log_bytes_max / 2)
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
    use crate::disk::{DirectoryDisk, Disk};
    use crate::limits::LOG_BYTES_MAX;
    use crate::stats::StorageStats;

    fn budgets(reserve_bytes: u64) -> Budgets {
        let disk: Arc<dyn Disk> = Arc::new(DirectoryDisk::new(std::env::temp_dir()));
        Budgets::new(100, 1000, Arc::new(Space::new(disk, Arc::new(StorageStats::default()), reserve_bytes)))
    }

    #[test]
    fn a_full_budget_is_named_with_its_figures() {
        let budgets = budgets(0);
        assert_eq!(budgets.admit(100), Ok(()));
        budgets.add_dirty(60);
        assert_eq!(budgets.admit(41), Err(Pressure::Dirty { used_bytes: 60, max_bytes: 100 }));
        budgets.sub_dirty(60);
        budgets.add_log(1000);
        assert_eq!(budgets.admit(1), Err(Pressure::Log { used_bytes: 1000, max_bytes: 1000 }));
        assert!(budgets.should_purge());
    }

    #[test]
    fn a_log_is_worth_a_purge_long_before_its_budget_is_used_up() {
        let budgets = Budgets { log_bytes_max: LOG_BYTES_MAX, ..budgets(0) };
        budgets.add_log(LOG_PURGE_BYTES);
        assert!(!budgets.should_purge());
        budgets.add_log(1);
        assert!(budgets.should_purge(), "a start after a kill walks what is there");
    }

    #[test]
    fn what_is_full_for_all_others_has_a_share_left_for_alarms() {
        let budgets = budgets(0);
        budgets.add_dirty(100);
        assert!(budgets.admit(1).is_err());
        assert_eq!(budgets.admit_alarms(100 / ALARM_HEADROOM_PART), Ok(()));
        assert!(budgets.admit_alarms(100 / ALARM_HEADROOM_PART + 1).is_err(), "it has an end, too");
        budgets.sub_dirty(100);
        budgets.add_log(1000);
        assert!(budgets.admit(1).is_err());
        assert_eq!(budgets.admit_alarms(100 / ALARM_HEADROOM_PART), Ok(()));
        budgets.add_log(1000 / ALARM_HEADROOM_PART);
        assert!(budgets.admit_alarms(1).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_real_disk_tells_how_much_is_left() {
        let free = budgets(0).disk_free_bytes().expect("the directory is there");
        let refused = budgets(free.saturating_mul(2)).admit(1).expect_err("no disk has twice of what is left");
        assert!(matches!(refused, Pressure::Disk { .. }), "{refused}");
        assert!(refused.retry_after() > Duration::from_secs(1));
    }
}
