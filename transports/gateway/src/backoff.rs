//! Pauses between attempts to connect, with decorrelated jitter: each is drawn between the base and three times the last one, so
//! that gateways which lost their node together do not come back together.

use std::time::Duration;

use crate::limits::{RECONNECT_BASE, RECONNECT_CAP_MIN, RECONNECT_MAX};

/// Delays between attempts.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    last: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { last: RECONNECT_BASE }
    }
}

impl Backoff {
    /// The next delay, at most this long, from 64 random bits.
    pub(crate) fn next(&mut self, longest: Duration, random: u64) -> Duration {
        let base = RECONNECT_BASE.as_millis() as u64;
        let upper = (self.last.as_millis() as u64 * 3).max(base + 1);
        let delay = Duration::from_millis(base + random % (upper - base)).min(longest);
        self.last = delay;
        delay
    }

    /// It worked: begin anew.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The longest delay after this time without a node. A restart takes a moment, so a gateway that has just lost its node asks
/// often; who has been alone for an hour can wait half a minute more. Whatever the absence, the pause adds at most a quarter to it.
pub(crate) fn longest_after(away: Duration) -> Duration {
    (away / 4).clamp(RECONNECT_CAP_MIN, RECONNECT_MAX)
}

/// A delay of at least `least`, and up to half as much again.
pub(crate) fn jittered(least: Duration, random: u64) -> Duration {
    let spread = (least.as_millis() as u64 / 2).max(1);
    least + Duration::from_millis(random % spread)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_delay_lies_between_base_and_cap(randoms in prop::collection::vec(any::<u64>(), 1..50)) {
            let mut backoff = Backoff::default();
            let mut last = RECONNECT_BASE;
            for random in randoms {
                let delay = backoff.next(RECONNECT_MAX, random);
                prop_assert!(delay >= RECONNECT_BASE && delay <= RECONNECT_MAX && delay <= last * 3);
                last = delay;
            }
        }
    }

    #[test]
    fn pauses_stay_short_at_first_and_grow_to_the_cap_only_with_the_absence() {
        assert_eq!(longest_after(Duration::ZERO), RECONNECT_CAP_MIN);
        assert_eq!(longest_after(Duration::from_secs(20)), Duration::from_secs(5));
        assert_eq!(longest_after(Duration::from_secs(3600)), RECONNECT_MAX);
        let mut backoff = Backoff::default();
        assert!((0..1000).all(|_| backoff.next(longest_after(Duration::from_secs(1)), u64::MAX) <= RECONNECT_CAP_MIN));
    }
}
