//! The fuzzer's corpus goes through the fuzzer's functions, without the fuzzer.

use openraft::storage::{RaftLogStorage as _, RaftStateMachine as _};
use twin_fuzz_corpus::Corpus;
use twin_storage::consensus::openraft;
use twin_storage::{Options, Storage};

use crate::world::{CELL, append, apply, barrier, batch, log_id, options, put};

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, unreachable_pub, reason = "a crate of its own to the fuzzer, which calls by name")]
mod fuzz;

/// Far more than a file of a few KiB and what is read of it, far less than what such a file may claim.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

fn corpus() -> Corpus {
    Corpus::of(env!("CARGO_MANIFEST_DIR"))
}

fn bounded(target: &str, bytes: &[u8]) {
    let taken = allocation_counter::measure(|| fuzz::run(target, bytes));
    assert!(taken.bytes_max < BYTES_MAX, "{target}: {} bytes of memory for {} of a file", taken.bytes_max, bytes.len());
}

#[test]
fn every_file_of_the_corpus_passes_its_target_within_its_memory() {
    corpus().pass(&[
        ("journal", |bytes| bounded("journal", bytes)),
        ("journal_summed", |bytes| bounded("journal_summed", bytes)),
        ("journal_header", |bytes| bounded("journal_header", bytes)),
        ("backup_rows", |bytes| bounded("backup_rows", bytes)),
    ]);
}

/// A journal with small slots that went round them, as it lies on the disk.
async fn journal(entries: u64) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a directory");
    let small = Options { log_slot_bytes: fuzz::SLOT_BYTES, ..options(directory.path()) };
    let storage = Storage::open(small).expect("new");
    let mut group = storage.group(CELL);
    for n in 0..entries {
        let entry = if n == 0 { barrier(1, n, n) } else { batch(1, n, n, vec![put("a", "value")]) };
        append(&mut group.log, vec![entry.clone()]).await;
        apply(&mut group.state_machine, vec![entry]).await;
        if n % 3 == 2 {
            storage.checkpoint().await.expect("written");
            group.log.purge(log_id(1, n - 1)).await.expect("covered");
        }
    }
    assert_eq!(group.state_machine.applied_state().await.expect("readable").0, Some(log_id(1, entries - 1)));
    drop((group, storage));
    std::fs::read(directory.path().join("log.journal")).expect("there")
}

#[tokio::test]
#[ignore = "writes the corpus, from journals as a node writes them"]
async fn the_corpus_is_written() {
    for entries in [1, 2, 9] {
        let journal = journal(entries).await;
        let header = [&journal[..128], &journal[fuzz::COPY_BYTES..][..128]].concat();
        for (target, bytes) in [
            ("journal", &journal[fuzz::SLOTS_AT..]),
            ("journal_summed", &journal[fuzz::SLOTS_AT..]),
            ("journal_header", &header),
        ] {
            corpus().write(target, &format!("{entries}-entries"), bytes);
        }
    }
    let row = |family: u8, key: &[u8], value: Option<&[u8]>| {
        let length = value.map_or(u32::MAX, |value| value.len() as u32);
        let head = [&[family][..], &(key.len() as u16).to_be_bytes(), &length.to_be_bytes()].concat();
        [&head, key, value.unwrap_or_default()].concat()
    };
    let rows = [row(1, b"label-1", Some(b"hot")), row(2, b"label-2", None), row(3, b"s", Some(b""))].concat();
    corpus().write("backup_rows", "three", &rows);
}
