//! A disk that fails: callers are told, and nothing is acked afterwards, whatever the disk says later.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::type_config::TypeConfigExt;
use twin_storage::consensus::{TypeConfig, openraft};
use twin_storage::redb::{BackendError, StorageBackend};
use twin_storage::{DataFile, DirectoryDisk, Disk, Group, Options, Storage};

use crate::world::{CELL, append, apply, barrier, crash_copy, log_id, open};

/// A real disk whose fsync of one file fails while the switch is on.
#[derive(Debug)]
struct FaultyDisk {
    real: DirectoryDisk,
    faulty: DataFile,
    fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FaultyFile {
    real: Box<dyn StorageBackend>,
    fails: Arc<AtomicBool>,
}

impl Disk for FaultyDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        let real = self.real.open(file)?;
        let fails = if file == self.faulty { Arc::clone(&self.fails) } else { Arc::default() };
        Ok(Box::new(FaultyFile { real, fails }))
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        self.real.put_in_place(file)
    }

    fn path(&self, file: DataFile) -> PathBuf {
        self.real.path(file)
    }
}

impl StorageBackend for FaultyFile {
    fn len(&self) -> Result<u64, io::Error> {
        self.real.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.real.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.real.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is on fire"));
        }
        self.real.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.real.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.real.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.real.try_lock_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.real.unlock_range(start, end)
    }
}

fn on_faulty(file: DataFile) -> (tempfile::TempDir, Storage, Arc<AtomicBool>) {
    let directory = tempfile::tempdir().expect("a directory");
    let fails = Arc::<AtomicBool>::default();
    let disk = FaultyDisk { real: DirectoryDisk::new(directory.path()), faulty: file, fails: Arc::clone(&fails) };
    let options = Options { checkpoint_interval: Duration::from_secs(3600), ..Options::on_disk(Arc::new(disk)) };
    (directory, Storage::open(options).expect("it works yet"), fails)
}

#[tokio::test]
async fn after_a_failed_fsync_of_the_log_nothing_is_acked() {
    let (directory, storage, fails) = on_faulty(DataFile::Journal);
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    fails.store(true, Ordering::Relaxed);
    let (sent, flushed) = TypeConfig::oneshot();
    log.append([barrier(1, 1, 1)], IOFlushed::signal(sent)).await.expect("taken");
    flushed.await.expect("the callback is called").expect_err("the disk failed");
    let failure = storage.failure().borrow().clone().expect("the node can see it");
    assert_eq!(failure.file, DataFile::Journal);
    assert!(failure.cause.contains("on fire"), "{failure}");

    // The disk recovers; we do not: what is on it is unknown.
    fails.store(false, Ordering::Relaxed);
    let (sent, _flushed) = TypeConfig::oneshot();
    log.append([barrier(1, 2, 2)], IOFlushed::signal(sent)).await.expect_err("failed for good");
    log.truncate_after(Some(log_id(1, 0))).await.expect_err("failed for good");
    let one = futures_util::stream::iter([Ok((barrier(1, 0, 0), None))]);
    state_machine.apply(one).await.expect_err("failed for good");
    storage.checkpoint().await.expect_err("failed for good");
    let reopened = open(crash_copy(directory.path()).path());
    let last = reopened.group(CELL).log.get_log_state().await.expect("readable").last_log_id;
    assert!(last >= Some(log_id(1, 0)), "the acked entry is there");
    storage.shutdown().expect_err("it failed");
}

#[tokio::test]
async fn after_a_failed_checkpoint_the_log_acks_nothing_either() {
    let (_directory, storage, fails) = on_faulty(DataFile::State);
    let Group { mut log, mut state_machine, durable } = storage.group(CELL);
    append(&mut log, vec![barrier(1, 0, 0)]).await;
    apply(&mut state_machine, vec![barrier(1, 0, 0)]).await;
    fails.store(true, Ordering::Relaxed);
    storage.checkpoint().await.expect_err("the disk failed");
    assert_eq!(*durable.borrow(), None, "a failed checkpoint is not durable");
    assert_eq!(storage.failure().borrow().as_ref().map(|failure| failure.file), Some(DataFile::State));
    let (sent, _flushed) = TypeConfig::oneshot();
    log.append([barrier(1, 1, 1)], IOFlushed::signal(sent)).await.expect_err("failed for good");
}
