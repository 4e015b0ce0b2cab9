//! Looks at a node again and again while it is under load: what counts of memory and budgets is their highest.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::measure::procfs::resident_bytes;
use crate::rest::{Metrics, Rest};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(100);

/// The highest that was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Peaks {
    /// Resident bytes of the node.
    pub(crate) resident_bytes: u64,
    /// Rows that wait for a checkpoint, as a share of their budget.
    pub(crate) dirty_share: f64,
    /// Log that is not purged, as a share of its budget.
    pub(crate) log_share: f64,
    /// How often it was looked.
    pub(crate) looks: u32,
}

impl Peaks {
    fn see(&mut self, resident_bytes: u64, metrics: &Metrics) {
        let share = |name: &str| metrics.sum(name) / metrics.sum(&format!("{name}_max")).max(1.0);
        self.resident_bytes = self.resident_bytes.max(resident_bytes);
        self.dirty_share = self.dirty_share.max(share("twinmesh_dirty_bytes"));
        self.log_share = self.log_share.max(share("twinmesh_log_bytes"));
        self.looks += 1;
    }

    /// The higher of both.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            resident_bytes: self.resident_bytes.max(other.resident_bytes),
            dirty_share: self.dirty_share.max(other.dirty_share),
            log_share: self.log_share.max(other.log_share),
            looks: self.looks + other.looks,
        }
    }
}

/// Looks until it is ended.
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Peaks>>,
}

impl Sampler {
    /// Begins to look at the node with this process id.
    pub(crate) fn begin(pid: u32, rest: &Rest) -> Self {
        let (stop, rest) = (Arc::<AtomicBool>::default(), rest.clone());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut peaks = Peaks::default();
            let mut missed = None;
            while !stopped.load(Ordering::Relaxed) {
                // A node with too much to do may answer a look late or not at all; the next one counts.
                match rest.metrics() {
                    Ok(metrics) => peaks.see(resident_bytes(pid)?, &metrics),
                    Err(error) => missed = Some(error),
                }
                std::thread::sleep(INTERVAL);
            }
            match missed {
                Some(error) if peaks.looks == 0 => Err(error),
                _ => Ok(peaks),
            }
        });
        Self { stop, thread }
    }

    /// What it saw. An error if the node could not be looked at.
    pub(crate) fn end(self) -> anyhow::Result<Peaks> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_of_each_counts() {
        let metrics = |dirty: u32, log: u32| {
            let text = format!(
                "twinmesh_dirty_bytes {dirty}\ntwinmesh_dirty_bytes_max 100\ntwinmesh_log_bytes {log}\n\
                 twinmesh_log_bytes_max 1000\n"
            );
            Metrics::of(text)
        };
        let mut peaks = Peaks::default();
        peaks.see(5, &metrics(10, 900));
        peaks.see(3, &metrics(110, 100));
        let later = Peaks { resident_bytes: 4, ..Peaks::default() };
        let peaks = peaks.or(later);
        assert_eq!((peaks.resident_bytes, peaks.looks), (5, 2));
        assert!((peaks.dirty_share - 1.1).abs() < 1e-9 && (peaks.log_share - 0.9).abs() < 1e-9, "{peaks:?}");
    }
}
