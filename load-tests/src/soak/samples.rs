//! Looks at the node again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::trend::Trend;
use crate::measure::procfs::{anonymous_bytes, open_files, resident_bytes};
use crate::rest::{Metrics, Rest};

/// What is looked at, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Resident,
    Anonymous,
    StateFile,
    LogFile,
    Directory,
    OpenFiles,
    Grains,
    Sessions,
    Connections,
    Observers,
    Dirty,
    Log,
    Admitted,
}

impl What {
    pub(super) const ALL: [Self; 13] = [
        Self::Resident,
        Self::Anonymous,
        Self::StateFile,
        Self::LogFile,
        Self::Directory,
        Self::OpenFiles,
        Self::Grains,
        Self::Sessions,
        Self::Connections,
        Self::Observers,
        Self::Dirty,
        Self::Log,
        Self::Admitted,
    ];

    /// For people and for tools.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Resident => "resident bytes",
            Self::Anonymous => "anonymous resident bytes",
            Self::StateFile => "state file bytes",
            Self::LogFile => "log file bytes",
            Self::Directory => "data directory bytes",
            Self::OpenFiles => "open files",
            Self::Grains => "active grains",
            Self::Sessions => "gateway sessions",
            Self::Connections => "QUIC connections",
            Self::Observers => "observers",
            Self::Dirty => "dirty bytes",
            Self::Log => "unpurged log bytes",
            Self::Admitted => "admitted bytes",
        }
    }
}

/// One look.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_s: f64,
    values: [f64; What::ALL.len()],
}

/// All looks so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(Vec<Sample>);

impl Samples {
    /// A curve.
    pub(super) fn points(&self, what: What) -> Vec<(f64, f64)> {
        self.0.iter().map(|sample| (sample.at_s, sample.values[what as usize])).collect()
    }

    /// How it goes.
    pub(super) fn trend(&self, what: What) -> Option<Trend> {
        Trend::of(&self.points(what))
    }

    pub(super) fn last(&self, what: What) -> f64 {
        self.0.last().map_or(0.0, |sample| sample.values[what as usize])
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The curve in so many points at most, each the median of its stretch: for drawing.
    pub(super) fn drawn(&self, what: What, points_max: usize) -> Vec<(f64, f64)> {
        let points = self.points(what);
        let stretch = points.len().div_ceil(points_max.max(1)).max(1);
        let middle = |points: &[(f64, f64)]| {
            let median = crate::measure::Spread::of(points.iter().map(|point| point.1)).median;
            (points[points.len() / 2].0, median)
        };
        points.chunks(stretch).map(middle).collect()
    }
}

/// One look at a node; of a process that is gone, no numbers.
fn look(pid: u32, data_dir: &Path, metrics: &Metrics) -> [f64; What::ALL.len()] {
    let size = |name: &str| std::fs::metadata(data_dir.join(name)).map_or(0.0, |file| file.len() as f64);
    What::ALL.map(|what| match what {
        What::Resident => resident_bytes(pid).map_or(f64::NAN, |bytes| bytes as f64),
        What::Anonymous => anonymous_bytes(pid).map_or(f64::NAN, |bytes| bytes as f64),
        What::StateFile => size("state.redb"),
        What::LogFile => size("log.journal"),
        What::Directory => bytes_below(data_dir) as f64,
        What::OpenFiles => open_files(pid).map_or(f64::NAN, |open| open as f64),
        What::Grains => metrics.sum("twinmesh_grains_active"),
        What::Sessions => metrics.sum("twinmesh_gateway_sessions"),
        What::Connections => metrics.sum("twinmesh_quic_connections_open"),
        What::Observers => metrics.sum("twinmesh_observers"),
        What::Dirty => metrics.sum("twinmesh_dirty_bytes"),
        What::Log => metrics.sum("twinmesh_log_bytes"),
        What::Admitted => metrics.sum("twinmesh_admitted_bytes"),
    })
}

/// Bytes of all files there and below; a file that goes meanwhile counts as none.
pub(crate) fn bytes_below(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}

/// Looks until it is ended.
pub(super) struct Looking {
    samples: Arc<Mutex<Samples>>,
    over: tokio::sync::watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Looking {
    pub(super) fn begin(pid: u32, data_dir: PathBuf, rest: Rest, interval: Duration) -> Self {
        let samples = Arc::<Mutex<Samples>>::default();
        let (over, ended) = tokio::sync::watch::channel(false);
        let found = Arc::clone(&samples);
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut next = begun;
            while !*ended.borrow() {
                // A node that is busy may answer late; one look less then.
                if let Ok(metrics) = rest.metrics() {
                    let values = look(pid, &data_dir, &metrics);
                    if values.iter().all(|value| value.is_finite()) {
                        found.lock().0.push(Sample { at_s: begun.elapsed().as_secs_f64(), values });
                    }
                }
                next = (next + interval).max(Instant::now());
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        });
        Self { samples, over, thread }
    }

    /// What was seen so far.
    pub(super) fn last(&self, what: What) -> f64 {
        self.samples.lock().last(what)
    }

    pub(super) fn end(self) -> anyhow::Result<Samples> {
        let _ = self.over.send(true);
        self.thread.join().map_err(|_| anyhow::anyhow!("whoever looked at the node panicked"))?;
        Ok(std::mem::take(&mut *self.samples.lock()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_drawn_by_medians() {
        let sample = |at: u32| Sample { at_s: f64::from(at), values: [f64::from(at % 10); What::ALL.len()] };
        let samples = Samples((0..100).map(sample).collect());
        let drawn = samples.drawn(What::Grains, 10);
        assert_eq!(drawn.len(), 10);
        assert!(drawn.iter().all(|point| (point.1 - 4.5).abs() < 1e-9), "{drawn:?}");
        assert_eq!(samples.drawn(What::Grains, 1000).len(), 100);
    }

    #[test]
    fn everything_that_is_looked_at_has_its_place() {
        for (at, what) in What::ALL.into_iter().enumerate() {
            assert_eq!(what as usize, at);
        }
    }
}
