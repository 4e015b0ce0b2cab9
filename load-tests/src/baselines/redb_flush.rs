//! What redb alone makes of checkpoints: sorted rows of one table into a file with many, one durable commit after the other, as
//! the node's checkpointer does it, with nothing else on the machine.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use redb::{Database, Durability, TableDefinition};

/// Cache of the file, as the node's files have it.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Writes rows that `next` gives, sorted by key, commit by commit for a while: rows a second, the making of rows not counted.
pub(crate) fn redb_flush(
    file: &Path,
    table: TableDefinition<'_, &'static [u8], &'static [u8]>,
    lasting: Duration,
    mut next: impl FnMut() -> Vec<(Vec<u8>, Vec<u8>)>,
) -> anyhow::Result<f64> {
    let db = Database::builder().set_cache_size(CACHE_BYTES).open(file).context("the baseline's redb file")?;
    let (mut written, mut took) = (0, Duration::ZERO);
    while took < lasting {
        let rows = next();
        let started = Instant::now();
        let mut txn = db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_quick_repair(true);
        {
            let mut table = txn.open_table(table)?;
            for (key, value) in &rows {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        txn.commit()?;
        took += started.elapsed();
        written += rows.len();
    }
    Ok(written as f64 / took.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_into_a_file_that_has_others() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("raw.redb");
        let table = TableDefinition::<&[u8], &[u8]>::new("rows");
        Database::create(&file).unwrap();
        let per_s = redb_flush(&file, table, Duration::from_millis(20), || vec![(vec![1], vec![2])]).unwrap();
        assert!(per_s > 0.0);
    }
}
