//! Pages of redb's files that are not what was written, met while the storage runs: told as what they are, and the end of it.

use std::path::Path;
use std::time::Duration;

use openraft::storage::{IOFlushed, RaftLogStorage as _};
use openraft::type_config::TypeConfigExt as _;
use tempfile::TempDir;
use twin_storage::consensus::{TypeConfig, openraft};
use twin_storage::{DataFile, Family, OpenError, OpenedFiles, Options, RowChange, Storage, StorageFailure};

use crate::world::{CELL, append, apply, barrier, batch, bytes, crash_copy, log_id, options};

const ROWS: u64 = 2000;
const PAGE_BYTES: usize = 4096;

fn key(row: u64) -> String {
    format!("label-{row:05}")
}

fn rows(value: &str) -> Vec<RowChange> {
    (0..ROWS).map(|row| RowChange::put(Family::TwinHot, bytes(&key(row)), bytes(&value.repeat(30)))).collect()
}

/// With a page cache that holds next to nothing, so that what is on the disk is what is read.
fn uncached(directory: &Path) -> Options {
    Options { state_cache_bytes: 0, ..options(directory) }
}

/// A checkpoint of rows that take a few hundred pages.
async fn written() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(uncached(directory.path())).expect("ours");
    let mut group = storage.group(CELL);
    let entries = vec![barrier(1, 0, 0), batch(1, 1, 1, rows("whole-----"))];
    append(&mut group.log, entries.clone()).await;
    apply(&mut group.state_machine, entries).await;
    storage.checkpoint().await.expect("written");
    drop(group);
    storage.shutdown().expect("clean");
    directory
}

/// In which way a page is damaged.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// What a disk gives for a sector that it lost.
    Zeros,
    /// What flash gives.
    Ones,
    /// Another kind of page, as a misdirected write leaves it.
    Kind,
    /// Counts and offsets that lead anywhere.
    Offsets,
}

impl Damage {
    const ALL: [Self; 4] = [Self::Zeros, Self::Ones, Self::Kind, Self::Offsets];

    fn put(self, page: &mut [u8]) {
        match self {
            Self::Zeros => page.fill(0),
            Self::Ones => page.fill(0xff),
            Self::Kind => page[0] ^= 3,
            Self::Offsets => page[2..64].iter_mut().for_each(|byte| *byte ^= 0xa5),
        }
    }
}

/// Damages every page but the header; in place, as whoever has the file open sees it.
fn damage_all(directory: &Path, damage: Damage) {
    let path = directory.join("state.redb");
    let mut content = std::fs::read(&path).expect("there");
    content.chunks_mut(PAGE_BYTES).skip(1).for_each(|page| damage.put(page));
    std::fs::write(&path, content).expect("written");
}

/// Damages those of the pages that hold rows.
fn damage_rows(directory: &Path, damage: Damage, which: impl Fn(usize) -> bool) {
    let path = directory.join("state.redb");
    let mut content = std::fs::read(&path).expect("there");
    let holds_rows = |page: &&mut [u8]| page.windows(10).any(|window| window == b"whole-----");
    let mut count = 0;
    for (at, page) in content.chunks_mut(PAGE_BYTES).filter(holds_rows).enumerate() {
        count += 1;
        if which(at) {
            damage.put(page);
        }
    }
    assert!(count > 100, "{count} pages hold rows");
    std::fs::write(&path, content).expect("written");
}

fn is_told(failure: &StorageFailure) {
    assert_eq!(failure.file, DataFile::State);
    let said = failure.to_string();
    assert!(
        failure.damaged && said.contains("state.redb") && said.contains("restore") && said.contains("backup"),
        "{said}"
    );
}

/// Reads all there is, in both ways; says whether anything was refused.
fn read_all(storage: &Storage) -> bool {
    let reader = storage.reader().group(CELL).expect("open");
    let mut refused = false;
    for row in 0..ROWS {
        refused |= reader.get(Family::TwinHot, key(row).as_bytes()).is_err();
    }
    let mut after = None;
    loop {
        match reader.scan(Family::TwinHot, b"", after.as_deref(), 500) {
            Err(_) => return true,
            Ok(scan) => {
                after = scan.rows.last().map(|(key, _)| key.to_vec());
                if !scan.more {
                    return refused;
                }
            }
        }
    }
}

/// Nothing that rests on it is acked any more.
async fn has_ended(storage: &Storage, index: u64) {
    let mut group = storage.group(CELL);
    let (sent, _flushed) = TypeConfig::oneshot();
    let refused = group.log.append([barrier(2, index, 0)], IOFlushed::signal(sent)).await;
    refused.expect_err("failed for good");
    storage.checkpoint().await.expect_err("failed for good");
}

#[tokio::test]
async fn one_damaged_page_that_is_read_ends_the_storage_with_words() {
    let whole = written().await;
    for how in Damage::ALL {
        for (first, part) in [(0, 1), (1, 7), (40, 1000), (60, 1000)] {
            let copy = crash_copy(whole.path());
            // A start reads no rows, unless redb was built with its own assertions: hence afterwards.
            let storage = Storage::open(uncached(copy.path())).expect("whole");
            damage_rows(copy.path(), how, |page| page >= first && (page - first).is_multiple_of(part));
            assert!(read_all(&storage), "{how:?} from page {first}");
            is_told(&storage.failure().borrow().clone().expect("the node can see it"));
            has_ended(&storage, 2).await;
        }
    }
}

#[tokio::test]
async fn where_nothing_is_left_but_the_header_it_is_told_as_well() {
    for how in Damage::ALL {
        let directory = written().await;
        let storage = Storage::open(uncached(directory.path())).expect("whole");
        assert!(!read_all(&storage));
        damage_all(directory.path(), how);
        assert!(read_all(&storage), "{how:?}");
        is_told(&storage.failure().borrow().clone().expect("the node can see it"));
        has_ended(&storage, 2).await;
        storage.shutdown().expect_err("it failed");
    }
}

#[tokio::test]
async fn a_checkpoint_over_damaged_pages_is_told_and_covers_nothing() {
    for how in Damage::ALL {
        let directory = written().await;
        let storage = Storage::open(uncached(directory.path())).expect("whole");
        let mut group = storage.group(CELL);
        damage_all(directory.path(), how);
        let entries = vec![batch(1, 2, 2, rows("newer-----"))];
        append(&mut group.log, entries.clone()).await;
        apply(&mut group.state_machine, entries).await;
        let failure = storage.checkpoint().await.expect_err("its pages are damaged");
        is_told(&failure);
        assert_eq!(*group.durable.borrow(), Some(log_id(1, 1)), "{how:?}");
        has_ended(&storage, 3).await;
        tokio::time::timeout(Duration::from_secs(30), tokio::task::spawn_blocking(|| storage.shutdown()))
            .await
            .expect("it ends")
            .expect("without a panic")
            .expect_err("it failed");
    }
}

/// `log.redb` is read as a whole when it is opened, and not touched after that.
#[tokio::test]
async fn a_damaged_page_of_the_small_file_beside_the_log_is_told_by_its_name_and_at_the_start() {
    let small = |directory: &Path| Options { log_slot_bytes: 16 * 1024, ..options(directory) };
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(small(directory.path())).expect("ours");
    append(&mut storage.group(CELL).log, vec![barrier(1, 0, 0)]).await;
    storage.shutdown().expect("clean");
    let whole = std::fs::read(directory.path().join("log.redb")).expect("there");
    let is_used = |page: usize| whole[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].iter().any(|byte| *byte != 0);
    let pages: Vec<usize> = (1..whole.len() / PAGE_BYTES).filter(|page| is_used(*page)).collect();
    let mut told = 0;
    for page in pages {
        for how in Damage::ALL {
            let mut damaged = whole.clone();
            how.put(&mut damaged[page * PAGE_BYTES..(page + 1) * PAGE_BYTES]);
            let copy = crash_copy(directory.path());
            let storage = Storage::open(small(copy.path())).expect("whole");
            // While it runs: there is nothing to be read or written there any more.
            std::fs::write(copy.path().join("log.redb"), &damaged).expect("written");
            storage.shutdown().unwrap_or_else(|failure| panic!("page {page}, {how:?}: {failure}"));
            match Storage::open(small(copy.path())) {
                Err(error) => {
                    told += 1;
                    let said = error.to_string();
                    assert!(matches!(error, OpenError::Damaged { .. }), "page {page}, {how:?}: {said}");
                    assert!(said.contains("log.redb is damaged") && !said.contains("journal"), "{said}");
                }
                // It is a page of which nothing is used any more. Then it is so to the end.
                Ok(storage) => storage.shutdown().unwrap_or_else(|failure| panic!("page {page}, {how:?}: {failure}")),
            }
        }
    }
    println!("told {told} times");
    assert!(told > 0);
}

/// What a page says may be well-formed and wrong all the same: its sum tells.
#[test]
fn a_flipped_bit_of_a_value_of_the_small_file_beside_the_log_is_not_believed() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut files = OpenedFiles::open(options(directory.path())).expect("new");
    files.claim("node-of-this-test").expect("nobody's");
    drop(files);
    let path = directory.path().join("log.redb");
    let mut content = std::fs::read(&path).expect("there");
    let found: Vec<usize> =
        (0..content.len() - 17).filter(|at| content[*at..].starts_with(b"node-of-this-test")).collect();
    assert!(!found.is_empty());
    for at in found {
        content[at] ^= 1;
    }
    std::fs::write(&path, content).expect("written");
    let error = OpenedFiles::open(options(directory.path())).expect_err("it is not what was written");
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}
