//! A disk without room is no reason to break the chain.

use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twin_cluster::limits::COMMIT_DEADLINE;
use twin_cluster::{Cluster, ClusterOptions, Enrolment};
use twin_core::clock::SystemClock;
use twin_core::command::Answer;
use twin_core::ids::SiteId;
use twin_core::refusal::Refusal;
use twin_storage::redb::{BackendError, StorageBackend};
use twin_storage::{DataFile, DirectoryDisk, Disk, Options, Storage};

use crate::world::{World, reported, sender};

/// A disk of which others take all room for a while.
#[derive(Debug)]
struct SharedDisk {
    inner: DirectoryDisk,
    full: Arc<AtomicBool>,
}

impl Disk for SharedDisk {
    fn open(&self, file: DataFile) -> io::Result<Box<dyn StorageBackend>> {
        let inner = self.inner.open(file)?;
        Ok(Box::new(File { inner, full: Arc::clone(&self.full) }))
    }

    fn put_in_place(&self, file: DataFile) -> io::Result<()> {
        self.inner.put_in_place(file)
    }

    fn path(&self, file: DataFile) -> PathBuf {
        self.inner.path(file)
    }
}

#[derive(Debug)]
struct File {
    inner: Box<dyn StorageBackend>,
    full: Arc<AtomicBool>,
}

impl File {
    fn room(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for File {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.room()?;
        self.inner.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.room()?;
        self.inner.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_is_committed_when_there_is_some_however_long_it_took() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::<AtomicBool>::default();
    let disk = SharedDisk { inner: DirectoryDisk::new(directory.path()), full: Arc::clone(&full) };
    let storage = Storage::open(Options { disk_reserve_bytes: 0, ..Options::on_disk(Arc::new(disk)) }).unwrap();
    let cluster = Cluster::start(storage, ClusterOptions::default(), Arc::new(SystemClock::new())).await.unwrap();
    let world = World { directory, cluster };
    let gateway = sender("g");
    world.put("d").await;
    world.attach("d", &gateway, 0).await.unwrap();

    full.store(true, Ordering::SeqCst);
    let mut waiting = Box::pin(world.report("d", &gateway, 1, 7));
    let early = tokio::time::timeout(COMMIT_DEADLINE + Duration::from_secs(1), &mut waiting).await;
    assert!(early.is_err(), "neither acked without room, nor given up: {early:?}");

    // Refused with a time to ask again, rather than let to wait with no end.
    let shop = SiteId::new("shop").unwrap();
    let refused = world.cluster.put_site(&shop, Enrolment::Open).await;
    assert!(matches!(refused, Err(Refusal::Busy { retry_after_ms: 1.., .. })), "{refused:?}");

    full.store(false, Ordering::SeqCst);
    let answer = tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("room again");
    assert_eq!(answer, Ok(Answer::Done));
    assert_eq!(reported(&world.read("d").await.unwrap()), Some(&7.into()));
    let poisonings = world.cluster.stats().poisonings;
    assert_eq!(poisonings, 0, "the chain went on");
    world.cluster.shutdown().await;
}
