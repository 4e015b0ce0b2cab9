//! A measure of the write path. Ignored; run it in release: `cargo test --release -p twin-storage -- --ignored --nocapture`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use twin_storage::{Applied, ChainLink, EntryData, Family, Options, RowChange, Storage};

use crate::replica::{start, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a claim"]
async fn rows_a_second_of_one_voter() {
    const ROWS: u64 = 256;
    const IN_FLIGHT: usize = 4;
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(Options { log_bytes_max: 8 << 30, ..Options::in_directory(directory.path()) })
        .expect("a fresh directory");
    let (raft, _) = start(&storage).await;
    let term = {
        use twin_storage::consensus::openraft::async_runtime::WatchReceiver;
        raft.metrics().borrow_watched().current_term
    };
    let _ = write(&raft, EntryData::barrier(ChainLink { term, n: 0 })).await;
    let started = Instant::now();
    let slots = Arc::new(tokio::sync::Semaphore::new(IN_FLIGHT));
    let mut n = 0;
    while started.elapsed() < Duration::from_secs(10) {
        let permit = Arc::clone(&slots).acquire_owned().await.expect("open");
        n += 1;
        let rows = (0..ROWS)
            .map(|row| {
                let key = Bytes::from(format!("store-{:04}-label-{:06}", row % 10, (n * ROWS + row) % 100_000));
                RowChange::put(Family::TwinHot, key, Bytes::from(vec![b'v'; 300]))
            })
            .collect();
        let entry = EntryData::batch(ChainLink { term, n }, rows).expect("small");
        // Proposed in order: the future is polled once before the next.
        let raft = raft.clone();
        let mut proposal = Box::pin(async move { raft.client_write(entry).await.expect("leads").data });
        if let std::task::Poll::Ready(applied) = futures_util::poll!(&mut proposal) {
            assert_eq!(applied, Applied::Applied);
            continue;
        }
        tokio::spawn(async move {
            assert_eq!(proposal.await, Applied::Applied);
            drop(permit);
        });
    }
    let _all = slots.acquire_many(IN_FLIGHT as u32).await.expect("open");
    let took = started.elapsed().as_secs_f64();
    let stats = storage.stats();
    println!(
        "{:.0} rows/s, {} rounds of {:.2} ms (commit {:.2} ms), {} entries, {} checkpoints of {:.0} ms and {} rows",
        (n * ROWS) as f64 / took,
        stats.rounds.get(),
        stats.round_latency.sum_ns() as f64 / 1e6 / stats.rounds.get() as f64,
        stats.commit_latency.sum_ns() as f64 / 1e6 / stats.rounds.get() as f64,
        stats.entries.get(),
        stats.checkpoints.get(),
        stats.checkpoint_latency.sum_ns() as f64 / 1e6 / stats.checkpoints.get().max(1) as f64,
        stats.checkpoint_rows.get() / stats.checkpoints.get().max(1),
    );
    raft.shutdown().await.expect("it runs");
}
