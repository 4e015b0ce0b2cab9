//! Latencies, in HDR histograms of microseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Longest latency that is told apart, in nanoseconds: two minutes.
const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// Digits that are kept: 1 part in 1,000.
const DIGITS: u8 = 3;

/// A histogram of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        match Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS) {
            Ok(histogram) => Self(histogram),
            Err(error) => unreachable!("constant bounds: {error}"),
        }
    }
}

impl Latencies {
    /// Notes one that `count` operations had.
    pub(crate) fn note(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(latency.as_nanos() as u64, count);
    }

    /// Takes over another's.
    pub(crate) fn add(&mut self, other: &Self) {
        // Same bounds: nothing can be lost.
        let _ = self.0.add(&other.0);
    }

    /// Milliseconds at a quantile between 0 and 1; 0 of nothing.
    pub(crate) fn ms(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1e6
    }

    /// How many were noted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds_and_weighed_by_count() {
        let mut latencies = Latencies::default();
        latencies.note(Duration::from_millis(2), 99);
        latencies.note(Duration::from_millis(50), 1);
        assert!((latencies.ms(0.5) - 2.0).abs() < 0.01);
        assert!((latencies.ms(0.999) - 50.0).abs() < 0.1);
        assert_eq!(latencies.count(), 100);
    }

    #[test]
    fn of_nothing_there_is_no_latency() {
        assert!(Latencies::default().ms(0.99).abs() < f64::EPSILON);
    }
}
