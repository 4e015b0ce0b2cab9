//! The one place of this crate that asks for the time.

use std::time::{Duration, Instant};

/// Measures how long something took, for [`crate::StorageStats`] only: no decision rests on it, which is
/// why the clock is not handed in.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // Metrics only, see above.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
