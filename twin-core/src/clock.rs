//! Time, handed in. Decisions rest on [`Clock::monotonic`] only; [`Clock::wall`] is data for people.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::numbers::WallTime;

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The wall clock. It may jump, and may say 1970 on a gateway without a battery: nothing is decided by it.
    fn wall(&self) -> WallTime;
    /// Time since some fixed moment of this process. Never goes back.
    fn monotonic(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Monotonic time counts from here.
    #[allow(clippy::disallowed_methods, reason = "one of the few places that implement the Clock")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "one of the few places that implement the Clock")]
    fn wall(&self) -> WallTime {
        let ms = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        };
        WallTime::new(ms)
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock {
    now: Mutex<(i64, Duration)>,
}

impl ManualClock {
    /// Starts at this wall time, and at zero of monotonic time.
    pub fn new(wall: WallTime) -> Self {
        Self { now: Mutex::new((wall.get(), Duration::ZERO)) }
    }

    /// Lets both clocks run on.
    pub fn advance(&self, by: Duration) {
        let mut now = self.lock();
        now.0 = now.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX));
        now.1 = now.1.saturating_add(by);
    }

    /// Sets the wall clock, in any direction, as an operator or a time server may.
    pub fn set_wall(&self, wall: WallTime) {
        self.lock().0 = wall.get();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (i64, Duration)> {
        // Two plain numbers: a panic elsewhere cannot have left them half-written.
        self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> WallTime {
        WallTime::new(self.lock().0)
    }

    fn monotonic(&self) -> Duration {
        self.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_time_goes_on_while_the_wall_clock_jumps_back() {
        let clock = ManualClock::new(WallTime::new(1_000_000));
        clock.advance(Duration::from_secs(5));
        clock.set_wall(WallTime::new(0));
        assert_eq!(clock.wall(), WallTime::new(0));
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }

    #[test]
    fn the_system_clock_knows_that_it_is_past_2020() {
        assert!(SystemClock::new().wall() > WallTime::new(1_577_836_800_000));
    }
}
