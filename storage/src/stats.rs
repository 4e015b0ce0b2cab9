//! Counters of the storage, for metrics and tests. Plain sums: whoever shows them makes rates of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }
}

/// Upper bounds of a latency's buckets, in microseconds; one more bucket holds everything above.
pub const LATENCY_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 2_000_000];

/// A histogram in Prometheus' shape, with fixed buckets.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Count; LATENCY_BUCKETS_US.len() + 1],
    sum_ns: Count,
}

impl Latency {
    /// How many of each bucket of [`LATENCY_BUCKETS_US`] (not cumulative), the last one being "above".
    pub fn buckets(&self) -> [u64; LATENCY_BUCKETS_US.len() + 1] {
        std::array::from_fn(|at| self.buckets[at].get())
    }

    /// Sum of all, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets().iter().sum()
    }

    pub(crate) fn record(&self, took: Duration) {
        let us = took.as_micros() as u64;
        let at = LATENCY_BUCKETS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BUCKETS_US.len());
        self.buckets[at].add(1);
        self.sum_ns.add(took.as_nanos() as u64);
    }
}

/// What the storage of a node did since it was opened.
#[derive(Debug, Default)]
pub struct StorageStats {
    /// Rounds of the log: syncs of the journal.
    pub rounds: Count,
    /// Appends (calls, not entries) that were committed by rounds.
    pub appends: Count,
    /// Entries that were committed by rounds.
    pub entries: Count,
    /// Encoded bytes of those entries.
    pub entry_bytes: Count,
    /// Time of a round: gathering it into frames, writing and syncing.
    pub round_latency: Latency,
    /// Of it, the time of the last write and the sync.
    pub commit_latency: Latency,
    /// Durable commits of `state.redb`.
    pub checkpoints: Count,
    /// Rows that checkpoints wrote.
    pub checkpoint_rows: Count,
    /// Bytes of keys and values that checkpoints wrote.
    pub checkpoint_bytes: Count,
    /// Time of a checkpoint, from freezing to publishing.
    pub checkpoint_latency: Latency,
    /// Entries applied.
    pub applied: Count,
    /// Rows applied.
    pub applied_rows: Count,
    /// Committed entries that did not fit the chain.
    pub chain_refused: Count,
    /// Entries read back from the journal because they had left the memory.
    pub log_disk_reads: Count,
    /// How often a file began to wait for room on the disk.
    pub disk_waits: Count,
    /// Snapshots installed.
    pub snapshots_installed: Count,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_first_bucket_that_holds_it() {
        let latency = Latency::default();
        latency.record(Duration::from_micros(100));
        latency.record(Duration::from_micros(101));
        latency.record(Duration::from_secs(60));
        assert_eq!(latency.buckets()[..2], [1, 1]);
        assert_eq!(latency.buckets()[LATENCY_BUCKETS_US.len()], 1);
        assert_eq!(latency.count(), 3);
    }
}
