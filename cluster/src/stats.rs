//! Counters of a node's cluster part.

use std::sync::atomic::{AtomicU64, Ordering};

/// Plain counters, shared by all tasks.
#[derive(Debug, Default)]
pub struct Counters {
    /// Grains started.
    pub activations: AtomicU64,
    /// Grains stopped for idleness or for room.
    pub passivations: AtomicU64,
    /// Commands given to grains.
    pub commands: AtomicU64,
    /// Commands refused for want of budget.
    pub commands_busy: AtomicU64,
    /// Of those, calls with alarms: even the share that is kept for them was used up.
    pub alarms_busy: AtomicU64,
    /// Entries proposed.
    pub entries: AtomicU64,
    /// Row changes in them.
    pub entry_changes: AtomicU64,
    /// Bytes in them.
    pub entry_bytes: AtomicU64,
    /// Entries proposed and not yet applied (level).
    pub entries_in_flight: AtomicU64,
    /// How often a chain broke.
    pub poisonings: AtomicU64,
    /// Method calls made.
    pub method_calls: AtomicU64,
}

impl Counters {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
