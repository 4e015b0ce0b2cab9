//! How long acks take.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::limits::LATENCY_MAX;

/// Latencies in microseconds, to three digits.
#[derive(Clone, Debug)]
pub(crate) struct LatencyRecord {
    histogram: Histogram<u64>,
}

impl Default for LatencyRecord {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX.as_micros() as u64, 3);
        Self { histogram: histogram.unwrap_or_else(|error| unreachable!("constant bounds are good: {error}")) }
    }
}

impl LatencyRecord {
    /// Longer ones than [`LATENCY_MAX`] count as that.
    pub(crate) fn record(&mut self, latency: Duration) {
        self.histogram.saturating_record(latency.as_micros().max(1) as u64);
    }

    pub(crate) fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.histogram.value_at_quantile(quantile))
    }

    pub(crate) fn clear(&mut self) {
        self.histogram.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_what_was_recorded() {
        let mut record = LatencyRecord::default();
        for ms in 1..=100 {
            record.record(Duration::from_millis(ms));
        }
        assert_eq!(record.quantile(0.5).as_millis(), 50);
        assert_eq!(record.quantile(0.99).as_millis(), 99);
        record.record(Duration::from_secs(86_400));
        assert!(record.quantile(1.0) >= LATENCY_MAX.mul_f64(0.99));
        record.clear();
        assert_eq!(record.count(), 0);
    }
}
