//! Durable appends to a redb file, as the node's log makes them: one commit a round, quick-repair on.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redb::{Database, Durability, TableDefinition};

/// Cache of the file, as the node's files have it.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

const ROWS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("rows");

/// A file that is appended to.
pub(crate) struct RedbAppends {
    db: Database,
    next_key: u64,
}

impl RedbAppends {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(path).context("the baseline's redb file")?;
        Ok(Self { db, next_key: 0 })
    }

    /// Appends rounds of this shape for a while: rows a second.
    pub(crate) fn run(&mut self, rows: usize, row_bytes: usize, lasting: Duration) -> anyhow::Result<f64> {
        // Not all alike: no disk shall win by compressing.
        let row: Vec<u8> = (0..row_bytes).map(|at| (at as u8).wrapping_mul(151) ^ (at >> 3) as u8).collect();
        let started = Instant::now();
        let mut appended = 0;
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
        }
        Ok(appended as f64 / started.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        let mut appends = RedbAppends::create(&dir.path().join("raw.redb")).unwrap();
        assert!(appends.run(10, 300, Duration::from_millis(20)).unwrap() > 0.0);
    }
}
