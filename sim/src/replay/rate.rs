//! How fast rows are reported.

use std::str::FromStr;
use std::time::Duration;

use crate::limits::{CATCH_UP_MAX, RATE_MAX};

/// Rows per second over all recordings, or as fast as they are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as outbox and node take them.
    Max,
    /// This many a second.
    RowsPerSecond(f64),
}

/// Not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rate: give rows per second, above 0 and up to {RATE_MAX}, or \"max\"")]
pub struct RateError(String);

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "max" {
            return Ok(Self::Max);
        }
        let rate = text.parse::<f64>().ok().filter(|rate| *rate > 0.0 && *rate <= RATE_MAX);
        rate.map(Self::RowsPerSecond).ok_or_else(|| RateError(text.to_owned()))
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Max => f.write_str("max"),
            Self::RowsPerSecond(rate) => write!(f, "{rate}"),
        }
    }
}

/// Says how many rows are due.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    rate: Rate,
    /// Rows due and not yet taken, fractions included.
    due: f64,
    at: Duration,
}

impl Pace {
    /// The first row is due at once.
    pub(crate) fn new(rate: Rate, now: Duration) -> Self {
        Self { rate, due: 1.0, at: now }
    }

    /// Rows that are due now, at most `most`.
    pub(crate) fn due(&mut self, now: Duration, most: usize) -> usize {
        let Rate::RowsPerSecond(rate) = self.rate else { return most };
        let passed_s = now.saturating_sub(self.at).as_secs_f64();
        self.at = now;
        // Time in which nothing could be reported is not made up for in one burst; slow rates must still reach their next row.
        let due_max = rate * CATCH_UP_MAX.as_secs_f64() + 1.0;
        self.due = (self.due + rate * passed_s).min(due_max);
        (self.due as usize).min(most)
    }

    /// These were reported.
    pub(crate) fn took(&mut self, rows: usize) {
        if self.rate != Rate::Max {
            self.due -= rows as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_within(rate: Rate, step: Duration, steps: u32) -> usize {
        let mut pace = Pace::new(rate, Duration::ZERO);
        let mut rows = 0;
        for tick in 0..=steps {
            let due = pace.due(step * tick, 1000);
            pace.took(due);
            rows += due;
        }
        rows
    }

    #[test]
    fn the_rate_is_kept_over_time_whatever_the_tick() {
        for (rate, step_ms, steps, expected) in [(1000.0, 5, 2000, 10_001), (3.0, 7, 10_000, 211), (0.5, 5, 2000, 6)] {
            let rows = rows_within(Rate::RowsPerSecond(rate), Duration::from_millis(step_ms), steps);
            assert!(rows.abs_diff(expected) <= 1, "{rows} rows at {rate}/s, expected {expected}");
        }
    }

    #[test]
    fn a_long_wait_is_not_made_up_for_in_one_burst() {
        let mut pace = Pace::new(Rate::RowsPerSecond(1000.0), Duration::ZERO);
        assert_eq!(pace.due(Duration::from_secs(3600), usize::MAX), 101);
    }

    #[test]
    fn what_is_no_rate_is_refused() {
        for text in ["0", "-1", "fast", "", "inf", "NaN", "1e10"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        assert_eq!("max".parse(), Ok(Rate::Max));
        assert_eq!("2.5".parse(), Ok(Rate::RowsPerSecond(2.5)));
    }
}
