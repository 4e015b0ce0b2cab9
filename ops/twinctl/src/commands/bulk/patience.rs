//! How long a bulk command goes on trying while nothing gets through.

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::limits::{BULK_PATIENCE, RECONNECT_DELAY_FIRST, RECONNECT_DELAY_MAX};

/// Patience: full again with everything that gets through.
pub(super) struct Patience {
    delay: Duration,
    waiting_since: Option<Instant>,
    has_connected: bool,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self { delay: RECONNECT_DELAY_FIRST, waiting_since: None, has_connected: false }
    }

    /// The node answers, if nothing else.
    pub(super) fn reached(&mut self) {
        self.has_connected = true;
    }

    /// Something got through.
    pub(super) fn refill(&mut self) {
        (self.delay, self.waiting_since, self.has_connected) = (RECONNECT_DELAY_FIRST, None, true);
    }

    /// Waits before another try, or gives the failure back: where it is for good, where nothing ever got through, and where
    /// nothing did for long.
    #[allow(clippy::disallowed_methods, reason = "an operator waits here, and no decision rests on it")]
    pub(super) fn wait(&mut self, failure: Failure, say: impl FnOnce(&str)) -> Result<(), Failure> {
        let wait = match &failure {
            Failure::Refused(problem) if problem.is_transient() => {
                self.delay.max(Duration::from_secs(problem.retry_after_s.unwrap_or(0)))
            }
            Failure::Unreachable { .. } if self.has_connected => self.delay,
            _ => return Err(failure),
        };
        let now = Instant::now();
        if now.duration_since(*self.waiting_since.get_or_insert(now)) >= BULK_PATIENCE {
            return Err(failure);
        }
        say(&format!("twinctl: {failure}; going on in {:.1} s", wait.as_secs_f64()));
        thread::sleep(wait);
        self.delay = (self.delay * 2).min(RECONNECT_DELAY_MAX);
        Ok(())
    }
}
