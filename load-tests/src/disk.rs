//! What the disk can do without us: the baselines.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redb::{Database, Durability, TableDefinition};

/// Size of a write that `fdatasync` is timed with: a page.
const SYNC_BYTES: usize = 4096;
/// Cache of the baseline's file, as the node's files have it.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// Appends rows to a redb file as the log does: one durable commit a round, quick-repair on.
pub(crate) struct RawAppends {
    db: Database,
    next_key: u64,
}

/// How fast raw appends went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendRate {
    /// Rows a second.
    pub(crate) rows_per_s: f64,
    /// Mean time of a round.
    pub(crate) round: Duration,
}

impl RawAppends {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path).context("the baseline's redb file")?;
        Ok(Self { db, next_key: 0 })
    }

    /// Appends rounds of this shape for a while.
    pub(crate) fn run(&mut self, rows: usize, row_bytes: usize, lasting: Duration) -> anyhow::Result<AppendRate> {
        // Not all alike: no disk shall win by compressing.
        let row: Vec<u8> = (0..row_bytes).map(|at| (at as u8).wrapping_mul(151) ^ (at >> 3) as u8).collect();
        let started = Instant::now();
        let (mut appended, mut rounds) = (0, 0);
        while started.elapsed() < lasting {
            let mut txn = self.db.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            txn.set_quick_repair(true);
            {
                let mut table = txn.open_table(ROWS)?;
                for _ in 0..rows {
                    table.insert(self.next_key, row.as_slice())?;
                    self.next_key += 1;
                }
            }
            txn.commit()?;
            appended += rows;
            rounds += 1;
        }
        let elapsed = started.elapsed();
        Ok(AppendRate { rows_per_s: appended as f64 / elapsed.as_secs_f64(), round: elapsed / rounds.max(1) })
    }
}

/// Times of appending a page to a plain file and syncing it, sorted.
pub(crate) fn sync_times(path: &Path, lasting: Duration) -> anyhow::Result<Vec<Duration>> {
    let mut file: File = OpenOptions::new().create(true).append(true).open(path).context("a file to sync")?;
    let page = [0x5a; SYNC_BYTES];
    let started = Instant::now();
    let mut times = Vec::new();
    while started.elapsed() < lasting {
        let begun = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baselines_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut appends = RawAppends::create(&dir.path().join("raw.redb")).unwrap();
        let rate = appends.run(10, 300, Duration::from_millis(20)).unwrap();
        assert!(rate.rows_per_s > 0.0 && rate.round > Duration::ZERO);
        assert!(!sync_times(&dir.path().join("file"), Duration::from_millis(5)).unwrap().is_empty());
    }
}
