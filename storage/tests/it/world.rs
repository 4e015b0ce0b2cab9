//! What the tests share: a storage in a fresh directory, and entries made short.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use tempfile::TempDir;
use twin_core::numbers::CellId;
use twin_storage::consensus::TypeConfig;
use twin_storage::consensus::openraft;
use twin_storage::consensus::{Entry, EntryPayload, LogId};
use twin_storage::{ChainLink, EntryData, Family, LogStore, Options, RowChange, StateMachine, Storage};

pub(crate) const CELL: CellId = CellId::new(1);
pub(crate) const OTHER: CellId = CellId::new(2);

/// A storage whose checkpoints happen only when asked for.
pub(crate) fn open(directory: &Path) -> Storage {
    Storage::open(options(directory)).expect("the directory is ours")
}

pub(crate) fn options(directory: &Path) -> Options {
    Options { checkpoint_interval: Duration::from_secs(3600), ..Options::in_directory(directory) }
}

pub(crate) fn fresh() -> (TempDir, Storage) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let storage = open(directory.path());
    (directory, storage)
}

/// What a disk holds at this moment, as a power cut would leave it (nothing is being written: the files are only ever changed by
/// what somebody waits for).
pub(crate) fn crash_copy(directory: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in ["log.redb", "log.journal", "state.redb"] {
        std::fs::copy(directory.join(file), copy.path().join(file)).expect("the file is there");
    }
    copy
}

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: term.into(), index }
}

pub(crate) fn link(term: u64, n: u64) -> ChainLink {
    ChainLink { term, n }
}

pub(crate) fn entry(term: u64, index: u64, data: EntryData) -> Entry {
    Entry { log_id: log_id(term, index), payload: EntryPayload::Normal(data) }
}

pub(crate) fn barrier(term: u64, index: u64, n: u64) -> Entry {
    entry(term, index, EntryData::barrier(link(term, n)))
}

pub(crate) fn batch(term: u64, index: u64, n: u64, rows: Vec<RowChange>) -> Entry {
    entry(term, index, EntryData::batch(link(term, n), rows).expect("a small batch"))
}

pub(crate) fn put(key: &str, value: &str) -> RowChange {
    RowChange::put(Family::TwinHot, bytes(key), bytes(value))
}

pub(crate) fn delete(key: &str) -> RowChange {
    RowChange::delete(Family::TwinHot, bytes(key))
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// Appends and waits until it is durable.
pub(crate) async fn append(log: &mut LogStore, entries: Vec<Entry>) {
    let (sent, flushed) = TypeConfig::oneshot();
    log.append(entries, IOFlushed::signal(sent)).await.expect("the storage is open");
    flushed.await.expect("the callback is called").expect("the disk works");
}

/// Applies committed entries.
pub(crate) async fn apply(machine: &mut StateMachine, entries: Vec<Entry>) {
    let entries = stream::iter(entries.into_iter().map(|entry| Ok((entry, None))));
    machine.apply(entries).await.expect("the storage works");
}

/// Waits for a condition, with a deadline.
pub(crate) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    let waiting = async {
        while !holds() {
            tick.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}
