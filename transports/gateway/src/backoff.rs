//! Decorrelated jitter: each delay is drawn between the base and three times the last one. Gateways that lost the same node
//! spread out, where a fixed or merely doubled delay would bring them back together.

use std::time::Duration;

use crate::limits::{RECONNECT_BASE, RECONNECT_MAX};

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
    /// The next delay, from 64 random bits.
    pub(crate) fn next(&mut self, random: u64) -> Duration {
        let base = RECONNECT_BASE.as_millis() as u64;
        let upper = (self.last.as_millis() as u64 * 3).max(base + 1);
        let delay = Duration::from_millis(base + random % (upper - base)).min(RECONNECT_MAX);
        self.last = delay;
        delay
    }

    /// It worked: begin anew.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }
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
                let delay = backoff.next(random);
                prop_assert!(delay >= RECONNECT_BASE && delay <= RECONNECT_MAX && delay <= last * 3);
                last = delay;
            }
        }
    }
}
