//! What happened in a store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::latency::LatencyRecord;

/// What happened in a store, from its gateways' side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreView {
    /// Gateways, and how many have a session.
    pub gateways: u64,
    /// Gateways with a session.
    pub connected: u64,
    /// Devices.
    pub devices: u64,
    /// Devices that are attached.
    pub attached: u64,
    /// Messages taken by the outboxes in this run.
    pub appended: u64,
    /// Messages acked in this run.
    pub acked: u64,
    /// Measurements that a full outbox did not take.
    pub refused_at_cap: u64,
    /// Messages in the outboxes.
    pub backlog_messages: u64,
    /// Their bytes.
    pub backlog_bytes: u64,
    /// Messages refused for good.
    pub dead_letters: u64,
    /// Events told.
    pub events: u64,
    /// Desired changes that reached a device.
    pub desired_received: u64,
    /// Desired changes that a device took over.
    pub applied: u64,
    /// Desired changes that a device rejected.
    pub rejected: u64,
    /// Method calls answered.
    pub calls: u64,
}

/// How long acks took, from the report to the node's word that it is committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latencies {
    /// How many were measured.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
}

impl Latencies {
    fn of(record: &LatencyRecord) -> Self {
        Self { count: record.count(), p50: record.quantile(0.5), p99: record.quantile(0.99) }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) refused_at_cap: AtomicU64,
    pub(crate) events: AtomicU64,
    pub(crate) desired_received: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) calls: AtomicU64,
    latencies: Mutex<(LatencyRecord, LatencyRecord)>,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn acked_after(&self, latency: Duration) {
        let (all, lately) = &mut *self.latencies.lock();
        all.record(latency);
        lately.record(latency);
    }

    /// Since the start.
    pub(crate) fn latencies(&self) -> Latencies {
        Latencies::of(&self.latencies.lock().0)
    }

    /// Since it was asked last.
    pub(crate) fn latencies_lately(&self) -> Latencies {
        let (_, lately) = &mut *self.latencies.lock();
        let latencies = Latencies::of(lately);
        lately.clear();
        latencies
    }

    pub(crate) fn view(&self) -> StoreView {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreView {
            refused_at_cap: get(&self.refused_at_cap),
            events: get(&self.events),
            desired_received: get(&self.desired_received),
            applied: get(&self.applied),
            rejected: get(&self.rejected),
            calls: get(&self.calls),
            ..StoreView::default()
        }
    }
}
