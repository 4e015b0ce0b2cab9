//! The budget of bytes written to flash: a token bucket on the monotonic clock, whose rest survives restarts.
//!
//! The bucket holds a day's bytes at most, and is refilled evenly over a day. Bytes are those that redb writes to the file, in whole
//! blocks ([`super::space`]); what the file system and the flash itself add is not known here. What must be written is:
//! removals of what was acked, dead letters, devices' rows, and what was promised or is on its way to be. So the rest may fall below
//! nothing, and is paid back before anything new is taken.
//!
//! **A restart gains nothing.** The file says how much is left, and no more than there is: it is told a step less than that, in a
//! commit that is due anyway, and anew in the next one after the step is used up. A crash so costs up to a step; what it can gain is what
//! the commits since then, mostly one, took beyond the step. Time while the gateway is off does not count, for no clock tells of it.

use std::time::Duration;

use crate::limits::{FLASH_RESERVE_PART, FLASH_RETRY_AFTER_MIN, FLASH_SCARCE_PART, FLASH_STEP_PART};

const DAY_MS: u128 = 24 * 60 * 60 * 1000;

/// The budget, if there is one.
#[derive(Debug)]
pub(crate) struct Flash {
    /// 0: there is none.
    day_bytes: i64,
    left_bytes: i64,
    /// What the file says is left.
    filed_bytes: Option<i64>,
    /// Bytes of this run that are paid for.
    paid_bytes: u64,
    /// Up to when it is refilled.
    refilled: Option<Duration>,
}

impl Flash {
    /// As the file says; it may say nothing yet.
    pub(crate) fn load(day_bytes: Option<u64>, filed_bytes: Option<i64>) -> Self {
        let day_bytes = day_bytes.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        let left_bytes = filed_bytes.unwrap_or(day_bytes).min(day_bytes);
        Self { day_bytes, left_bytes, filed_bytes, paid_bytes: 0, refilled: None }
    }

    /// It is this late, and so much was written in this run.
    pub(crate) fn advance(&mut self, now: Duration, written_bytes: u64) {
        if self.day_bytes == 0 {
            return;
        }
        self.left_bytes -= written_bytes.saturating_sub(self.paid_bytes).cast_signed();
        self.paid_bytes = written_bytes;
        let since = *self.refilled.get_or_insert(now);
        let day_bytes = self.day_bytes.cast_unsigned();
        let gained = now.saturating_sub(since).as_millis() * u128::from(day_bytes) / DAY_MS;
        if gained == 0 {
            return;
        }
        self.left_bytes = self.left_bytes.saturating_add(i64::try_from(gained).unwrap_or(i64::MAX)).min(self.day_bytes);
        // Up to the time that gave whole bytes: the rest counts next time.
        let took_ms = (gained * DAY_MS).div_ceil(u128::from(day_bytes));
        self.refilled = Some(since + Duration::from_millis(u64::try_from(took_ms).unwrap_or(u64::MAX)));
    }

    /// What is left; `None`: there is no budget. Nothing where more was written than there was.
    pub(crate) fn left_bytes(&self) -> Option<u64> {
        (self.day_bytes > 0).then_some(self.left_bytes.max(0).cast_unsigned())
    }

    /// How scarce it is, 0 to 1: nothing until half of it is gone, and 1 when only the reserve is left.
    pub(crate) fn scarcity(&self) -> f64 {
        let (from, to) = (self.day_bytes / FLASH_SCARCE_PART, self.reserve_bytes());
        if self.left_bytes >= from {
            return 0.0;
        }
        (((from - self.left_bytes) as f64) / ((from - to).max(1) as f64)).min(1.0)
    }

    fn reserve_bytes(&self) -> i64 {
        self.day_bytes / FLASH_RESERVE_PART
    }

    /// May what may use the reserve, or may not, be written?
    pub(crate) fn allows(&self, reserve: bool) -> bool {
        self.day_bytes == 0 || self.left_bytes > if reserve { 0 } else { self.reserve_bytes() }
    }

    /// When it allows it again, if nothing is written meanwhile.
    pub(crate) fn retry_after(&self, reserve: bool) -> Duration {
        let missing = (if reserve { 0 } else { self.reserve_bytes() }) + 1 - self.left_bytes;
        let ms =
            u128::from(missing.max(0).cast_unsigned()) * DAY_MS / u128::from(self.day_bytes.max(1).cast_unsigned()) + 1;
        Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)).max(FLASH_RETRY_AFTER_MIN)
    }

    /// What the next commit tells the file is left, if it must or if it has become much more.
    pub(crate) fn next_filed(&mut self) -> Option<i64> {
        if self.day_bytes == 0 {
            return None;
        }
        let step = self.day_bytes / FLASH_STEP_PART;
        let told = self.left_bytes - step;
        if self.filed_bytes.is_some_and(|filed| (filed..filed.saturating_add(4 * step)).contains(&self.left_bytes)) {
            return None;
        }
        self.filed_bytes = Some(told);
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn it_is_refilled_evenly_and_holds_a_day_at_most() {
        let mut flash = Flash::load(Some(24_000), None);
        flash.advance(HOUR, 0);
        flash.advance(HOUR, 20_000);
        assert_eq!(flash.left_bytes(), Some(4_000));
        // In many small steps as in one.
        for second in 1..=3600 {
            flash.advance(HOUR + Duration::from_secs(second), 20_000);
        }
        assert_eq!(flash.left_bytes(), Some(5_000));
        flash.advance(100 * HOUR, 20_000);
        assert_eq!(flash.left_bytes(), Some(24_000));
    }

    #[test]
    fn what_is_overdrawn_is_paid_back_before_anything_is_allowed() {
        let mut flash = Flash::load(Some(24_000), None);
        flash.advance(HOUR, 30_000);
        assert!(!flash.allows(true) && flash.left_bytes() == Some(0));
        let after = flash.retry_after(true);
        assert!(after > 6 * HOUR && after < 7 * HOUR, "{after:?}");
        flash.advance(HOUR + after, 30_000);
        assert!(flash.allows(true) && !flash.allows(false));
        let after = flash.retry_after(false);
        flash.advance(8 * HOUR + after, 30_000);
        assert!(flash.allows(false));
    }

    #[test]
    fn the_file_never_says_more_than_is_left_and_is_told_seldom() {
        let mut flash = Flash::load(Some(64_000), None);
        let (mut filed, mut told) = (None, 0);
        for written in 0..500u64 {
            flash.advance(HOUR, written * 100);
            if let Some(left) = flash.next_filed() {
                (filed, told) = (Some(left), told + 1);
            }
            assert!(filed.unwrap() <= flash.left_bytes, "{filed:?} of {}", flash.left_bytes);
        }
        assert!((45..60).contains(&told), "{told}");
        let restarted = Flash::load(Some(64_000), filed);
        assert!(restarted.left_bytes <= flash.left_bytes && restarted.left_bytes > flash.left_bytes - 2_000);
    }

    #[test]
    fn without_a_budget_nothing_is_scarce() {
        let mut flash = Flash::load(None, None);
        flash.advance(HOUR, u64::MAX);
        assert!(flash.allows(false) && flash.left_bytes().is_none() && flash.next_filed().is_none());
        assert!(flash.scarcity().abs() < f64::EPSILON);
    }
}
