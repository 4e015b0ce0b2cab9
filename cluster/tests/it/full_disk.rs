//! A disk without room is no reason to break the chain.

use std::future::Future;
use std::io;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use twin_cluster::limits::COMMIT_DEADLINE;
use twin_cluster::{Cluster, ClusterOptions, ConflictPolicy, Enrolment, SiteChange, TwinQuery};
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

/// A cluster in a directory, and the switch that fills its disk.
async fn world() -> (World, Arc<AtomicBool>) {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::<AtomicBool>::default();
    let disk = SharedDisk { inner: DirectoryDisk::new(directory.path()), full: Arc::clone(&full) };
    let storage = Storage::open(Options { disk_reserve_bytes: 0, ..Options::on_disk(Arc::new(disk)) }).unwrap();
    let cluster = Cluster::start(storage, ClusterOptions::default(), Arc::new(SystemClock::new())).await.unwrap();
    (World { directory, cluster }, full)
}

/// Long enough for an answer that is bounded, and far below the deadline of a commit.
const BOUND: Duration = Duration::from_secs(4);

async fn bounded<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(BOUND, work).await.unwrap_or_else(|_| panic!("{what} was not answered"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_room_is_answered_as_not_known_and_takes_effect_once_when_there_is_some() {
    let (world, full) = world().await;
    let gateway = sender("g");
    for twin in ["d", "other"] {
        world.put(twin).await;
    }
    world.attach("d", &gateway, 0).await.unwrap();
    assert_eq!(world.report("d", &gateway, 1, 6).await, Ok(Answer::Done));

    full.store(true, Ordering::SeqCst);
    let answer = bounded("the write", world.report("d", &gateway, 2, 7)).await;
    assert!(matches!(answer, Err(Refusal::Unavailable { retry_after_ms: 1000.., .. })), "{answer:?}");
    assert!(answer.unwrap_err().to_string().contains("disk is full"));

    // Of the twin that the write was of, too: as it was committed.
    let read = bounded("a read of its twin", world.read("d")).await.unwrap();
    assert_eq!(reported(&read), Some(&6.into()));
    bounded("a read of another twin", world.read("other")).await.unwrap();
    bounded("the sites", world.cluster.sites()).await.unwrap();
    bounded("a listing", world.cluster.list_twins(TwinQuery { site: None, after: None, limit: 10 })).await.unwrap();

    // Refused with a time to ask again, rather than let to wait with no end.
    let again = bounded("the write, sent again", world.report("d", &gateway, 2, 7)).await;
    assert!(again.as_ref().is_err_and(|refusal| refusal.retry_after().is_some()), "{again:?}");
    let shop = SiteId::new("shop").unwrap();
    let refused = bounded("another write", world.cluster.put_site(&shop, Enrolment::Open)).await;
    assert!(refused.as_ref().is_err_and(|refusal| refusal.retry_after().is_some()), "{refused:?}");

    tokio::time::sleep(COMMIT_DEADLINE + Duration::from_secs(2)).await;
    full.store(false, Ordering::SeqCst);
    let answer = loop {
        match world.report("d", &gateway, 2, 7).await {
            Err(refusal) if refusal.retry_after().is_some() => tokio::time::sleep(Duration::from_millis(20)).await,
            answer => break answer,
        }
    };
    assert_eq!(answer, Ok(Answer::Duplicate), "it was committed, and is taken once");
    assert_eq!(reported(&world.read("d").await.unwrap()), Some(&7.into()));
    assert_eq!(world.report("d", &gateway, 3, 8).await, Ok(Answer::Done));
    world.cluster.put_site(&shop, Enrolment::Open).await.unwrap();
    let poisonings = world.cluster.stats().poisonings;
    assert_eq!(poisonings, 0, "the chain went on");
    world.cluster.shutdown().await;
}

/// A site is read, changed and written. What waits for room is not yet in what is read.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_computed_on_rows_that_lack_what_waits_for_room() {
    let (world, full) = world().await;
    let shop = SiteId::new("shop").unwrap();
    full.store(true, Ordering::SeqCst);
    let unknown = bounded("the write", world.cluster.put_site(&shop, Enrolment::Open)).await;
    assert!(matches!(unknown, Err(Refusal::Unavailable { .. })), "{unknown:?}");
    full.store(false, Ordering::SeqCst);
    let deny = SiteChange { conflict: Some(ConflictPolicy::DenyNew), ..SiteChange::default() };
    while let Err(refusal) = world.cluster.put_site(&shop, deny).await {
        assert!(refusal.retry_after().is_some(), "{refusal}");
    }
    let site = world.cluster.site(&shop).await.unwrap();
    assert_eq!((site.enrolment, site.conflict), (Enrolment::Open, ConflictPolicy::DenyNew));
    world.cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_log_waits_for_room_stops_when_it_is_told_to_and_keeps_what_it_acknowledged() {
    let (world, full) = world().await;
    let gateway = sender("g");
    world.put("d").await;
    world.attach("d", &gateway, 0).await.unwrap();
    assert_eq!(world.report("d", &gateway, 1, 6).await, Ok(Answer::Done));
    full.store(true, Ordering::SeqCst);
    let answer = bounded("the write", world.report("d", &gateway, 2, 7)).await;
    assert!(answer.is_err(), "{answer:?}");
    bounded("the stop", world.cluster.shutdown()).await;
    full.store(false, Ordering::SeqCst);
    let world = world.restart().await;
    let read = world.read("d").await.unwrap();
    // The write that was not acknowledged may be there or not.
    assert!([Some(&6.into()), Some(&7.into())].contains(&reported(&read)), "{read:?}");
    world.cluster.shutdown().await;
}

/// The replica's own queue is full of ticks after 104 s, if its clock goes on: then it waits for itself for ever. The minutes are tokio's,
/// which pass at once.
#[tokio::test]
async fn a_replica_whose_vote_waited_for_minutes_goes_on_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let full = Arc::<AtomicBool>::default();
    let open = || {
        let disk = SharedDisk { inner: DirectoryDisk::new(directory.path()), full: Arc::clone(&full) };
        Storage::open(Options { disk_reserve_bytes: 0, ..Options::on_disk(Arc::new(disk)) }).unwrap()
    };
    let start = |storage| Cluster::start(storage, ClusterOptions::default(), Arc::new(SystemClock::new()));
    start(open()).await.unwrap().shutdown().await;

    let storage = open();
    let budgets = storage.budgets();
    full.store(true, Ordering::SeqCst);
    let starting = tokio::spawn(start(storage));
    let waits = async {
        while !budgets.log_waits_for_room() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    bounded("the vote", waits).await;
    tokio::time::pause();
    tokio::time::sleep(Duration::from_secs(300)).await;
    tokio::time::resume();
    assert!(!starting.is_finished());
    full.store(false, Ordering::SeqCst);
    let started = tokio::time::timeout(Duration::from_secs(8), starting).await;
    started.expect("the replica stands still for ever").unwrap().unwrap().shutdown().await;
}
