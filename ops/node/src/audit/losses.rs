//! Lines of the audit log that are lost, told at a bounded rate: on a full disk each of thousands of changes a second loses one.

use std::time::Duration;

use crate::limits::AUDIT_LOSSES_TOLD_EVERY;

/// Lines that were lost, and when that was last told.
#[derive(Debug, Default)]
pub(super) struct Losses {
    untold: u64,
    told_at: Option<Duration>,
}

impl Losses {
    /// One more is lost.
    pub(super) fn add(&mut self) {
        self.untold += 1;
    }

    /// How many are to be told of now, on the monotonic clock; `None`: none, or not yet. The first is told at once.
    pub(super) fn due(&mut self, now: Duration) -> Option<u64> {
        let is_time = self.told_at.is_none_or(|told_at| now.saturating_sub(told_at) >= AUDIT_LOSSES_TOLD_EVERY);
        (self.untold > 0 && is_time).then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.untold)
        })
    }

    /// How many were not told of, at the end.
    pub(super) fn rest(&mut self) -> Option<u64> {
        Some(std::mem::take(&mut self.untold)).filter(|untold| *untold > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_all_others_by_their_number_once_a_second() {
        let mut losses = Losses::default();
        let mut told = Vec::new();
        for ms in 0..3_500_u64 {
            losses.add();
            told.extend(losses.due(Duration::from_millis(7_000 + ms)));
        }
        assert_eq!(told, [1, 1_000, 1_000, 1_000]);
        assert_eq!((losses.rest(), losses.rest()), (Some(499), None));
        assert_eq!(losses.due(Duration::from_secs(60)), None, "there is nothing to tell");
        losses.add();
        assert_eq!(losses.due(Duration::from_secs(60)), Some(1), "after a quiet time at once again");
    }
}
