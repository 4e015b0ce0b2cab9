//! Appending a page to a plain file and syncing it: the least that anything durable takes.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::measure::Latencies;

/// Size of a write: a page.
const SYNC_BYTES: usize = 4096;

/// How long it takes, one after the other.
pub(crate) fn fdatasync(path: &Path, lasting: Duration) -> anyhow::Result<Latencies> {
    let mut file = OpenOptions::new().create(true).append(true).open(path).context("a file to sync")?;
    let page = [0x5a; SYNC_BYTES];
    let started = Instant::now();
    let mut latencies = Latencies::default();
    while started.elapsed() < lasting {
        let begun = Instant::now();
        file.write_all(&page)?;
        file.sync_data()?;
        latencies.note(begun.elapsed(), 1);
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syncs_are_timed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(fdatasync(&dir.path().join("file"), Duration::from_millis(5)).unwrap().ms(0.5) > 0.0);
    }
}
