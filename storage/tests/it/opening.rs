//! Files that are not ours, not readable, or in use: a typed refusal, never a panic.

use std::path::Path;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use twin_storage::consensus::openraft;
use twin_storage::redb::{Database, ReadableDatabase as _, TableDefinition};
use twin_storage::{FORMAT_VERSION, Lost, OpenError, OpenedFiles, Options, Storage};

use crate::world::{CELL, append, apply, barrier, batch, fresh, log_id, open, options, put};

fn refused(directory: &Path) -> OpenError {
    Storage::open(Options::in_directory(directory)).expect_err("refused")
}

#[test]
fn a_directory_is_made_for_the_owner_only() {
    let parent = tempfile::tempdir().expect("a directory");
    let directory = parent.path().join("a/b");
    drop(open(&directory));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).expect("it was made").permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("log.redb")), 0o600);
    }
}

#[test]
fn a_file_in_use_is_refused() {
    let (directory, _storage) = fresh();
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("log.redb"), "{error}");
}

/// A file that a start which was cut short left: of the right length, without redb's magic number, which is written last.
fn half_made(directory: &Path, file: &str) {
    std::fs::write(directory.join(file), vec![0; 64 * 1024]).expect("written");
}

#[test]
fn what_a_start_that_was_cut_short_left_is_made_anew() {
    let directory = tempfile::tempdir().expect("a directory");
    for file in ["log.redb.new", "log.journal.new", "state.redb.new"] {
        half_made(directory.path(), file);
    }
    open(directory.path()).shutdown().expect("clean");
    open(directory.path()).shutdown().expect("clean");
    let mut files: Vec<_> = std::fs::read_dir(directory.path())
        .expect("there")
        .map(|entry| entry.expect("there").file_name().into_string().expect("text"))
        .collect();
    files.sort();
    assert_eq!(files, ["log.journal", "log.redb", "state.redb"]);
}

#[test]
fn a_file_is_in_its_place_only_when_it_is_complete() {
    let directory = tempfile::tempdir().expect("a directory");
    // The state cannot be made, the log can.
    std::fs::create_dir(directory.path().join("state.redb.new")).expect("made");
    refused(directory.path());
    assert!(directory.path().join("log.redb").exists());
    assert!(!directory.path().join("state.redb").exists());
    std::fs::remove_dir(directory.path().join("state.redb.new")).expect("removed");
    open(directory.path()).shutdown().expect("clean");
}

#[test]
fn a_file_that_another_process_makes_is_left_to_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log.redb.new");
    let other = Database::create(&path).expect("made");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    drop(other);
    drop(Database::open(&path).expect("untouched"));
}

#[test]
fn a_foreign_file_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("log.redb"), "not a database ".repeat(1000)).expect("written");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");

    let directory = tempfile::tempdir().expect("a directory");
    let table: TableDefinition<'_, &str, u64> = TableDefinition::new("somebody_elses");
    let database = Database::create(directory.path().join("state.redb")).expect("made");
    let write = database.begin_write().expect("a transaction");
    write.open_table(table).expect("made").insert("a", 1).expect("written");
    write.commit().expect("written");
    drop(database);
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn swapped_files_are_refused() {
    let (directory, storage) = fresh();
    storage.shutdown().expect("clean");
    let (log, state) = (directory.path().join("log.redb"), directory.path().join("state.redb"));
    std::fs::rename(&log, directory.path().join("x")).expect("moved");
    std::fs::rename(&state, &log).expect("moved");
    std::fs::rename(directory.path().join("x"), &state).expect("moved");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let (directory, storage) = fresh();
    storage.shutdown().expect("clean");
    let format: TableDefinition<'_, &str, u32> = TableDefinition::new("format");
    let database = Database::open(directory.path().join("state.redb")).expect("ours");
    let write = database.begin_write().expect("a transaction");
    write.open_table(format).expect("there").insert("twinmesh-state", FORMAT_VERSION + 1).expect("written");
    write.commit().expect("written");
    drop(database);
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Newer { found, .. } if found == FORMAT_VERSION + 1), "{error}");
}

#[test]
fn a_file_of_the_first_format_gets_the_tables_that_came_later() {
    let (directory, storage) = fresh();
    storage.shutdown().expect("clean");
    let format: TableDefinition<'_, &str, u32> = TableDefinition::new("format");
    let database = Database::open(directory.path().join("state.redb")).expect("ours");
    let write = database.begin_write().expect("a transaction");
    for family in ["token", "site_device"] {
        let table: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new(family);
        assert!(write.delete_table(table).expect("a table"), "{family} is there");
    }
    write.open_table(format).expect("there").insert("twinmesh-state", 1).expect("written");
    write.commit().expect("written");
    drop(database);
    open(directory.path()).shutdown().expect("clean");
    let database = Database::open(directory.path().join("state.redb")).expect("ours");
    let read = database.begin_read().expect("a transaction");
    let found =
        read.open_table(format).expect("there").get("twinmesh-state").expect("readable").expect("there").value();
    assert_eq!(found, FORMAT_VERSION);
}

#[tokio::test]
async fn a_lost_log_file_is_noticed() {
    let (directory, storage) = fresh();
    let mut group = storage.group(CELL);
    append(&mut group.log, vec![barrier(1, 0, 0)]).await;
    apply(&mut group.state_machine, vec![barrier(1, 0, 0)]).await;
    storage.shutdown().expect("clean");
    std::fs::remove_file(directory.path().join("log.redb")).expect("removed");
    let error = refused(directory.path());
    assert!(matches!(&error, OpenError::Lost { lost, how: Lost::Gone, .. } if lost.ends_with("log.redb")), "{error}");
    assert!(!directory.path().join("log.redb").exists(), "what is refused is left as it is");
    // There, without a byte.
    for _ in 0..2 {
        std::fs::write(directory.path().join("log.redb"), "").expect("written");
        let error = refused(directory.path());
        assert!(error.to_string().contains("log.redb is empty, but"), "{error}");
        assert!(error.to_string().contains("twind restore --from FILE"), "{error}");
    }
    // One that is new.
    std::fs::remove_file(directory.path().join("log.redb")).expect("there");
    let (other, fresh) = fresh();
    drop(fresh);
    let database = Database::open(other.path().join("log.redb")).expect("ours");
    let write = database.begin_write().expect("a transaction");
    let made: TableDefinition<'_, &str, u32> = TableDefinition::new("journal");
    write.open_table(made).expect("there").remove("made").expect("there");
    write.commit().expect("written");
    drop(database);
    std::fs::copy(other.path().join("log.redb"), directory.path().join("log.redb")).expect("copied");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Lost { how: Lost::New, .. }), "{error}");
    // Both of the log's.
    std::fs::remove_file(directory.path().join("log.redb")).expect("there");
    std::fs::remove_file(directory.path().join("log.journal")).expect("removed");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::LogLost { group: CELL, .. }), "{error}");
}

#[tokio::test]
async fn a_lost_journal_is_noticed_also_if_nothing_was_checkpointed() {
    let (directory, storage) = fresh();
    append(&mut storage.group(CELL).log, vec![barrier(1, 0, 0)]).await;
    drop(storage);
    std::fs::remove_file(directory.path().join("log.journal")).expect("removed");
    let error = refused(directory.path());
    assert!(matches!(&error, OpenError::Lost { lost, .. } if lost.ends_with("log.journal")), "{error}");
}

#[test]
fn a_journal_of_somebody_else_or_of_a_newer_release_is_refused_by_name() {
    let (directory, storage) = fresh();
    storage.shutdown().expect("clean");
    let path = directory.path().join("log.journal");
    let ours = std::fs::read(&path).expect("there");
    std::fs::write(&path, "dear diary, ".repeat(1000)).expect("written");
    assert!(matches!(refused(directory.path()), OpenError::Foreign { .. }));
    let mut newer = ours.clone();
    for copy in [0, 4096] {
        newer[copy + 19] = 3;
        let length = u32::from_be_bytes(newer[copy + 24..copy + 28].try_into().expect("four")) as usize;
        let said = [&newer[copy + 16..copy + 20], &newer[copy + 28..copy + 28 + length]].concat();
        newer[copy + 20..copy + 24].copy_from_slice(&crc32fast::hash(&said).to_be_bytes());
    }
    std::fs::write(&path, newer).expect("written");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Newer { found: 3, reads: 2, .. }), "{error}");
    // One copy of the header is enough.
    let mut half = ours.clone();
    half[..4096].fill(0xff);
    std::fs::write(&path, &half).expect("written");
    open(directory.path()).shutdown().expect("clean");
    half[..8192].fill(0);
    std::fs::write(&path, half).expect("written");
    assert!(matches!(refused(directory.path()), OpenError::Foreign { .. }));
}

#[test]
fn a_log_of_before_the_journal_is_refused_with_the_way_out() {
    let (directory, storage) = fresh();
    storage.shutdown().expect("clean");
    let format: TableDefinition<'_, &str, u32> = TableDefinition::new("format");
    let database = Database::open(directory.path().join("log.redb")).expect("ours");
    let write = database.begin_write().expect("a transaction");
    write.open_table(format).expect("there").insert("twinmesh-log", 2).expect("written");
    write.commit().expect("written");
    drop(database);
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Older { found: 2, .. }), "{error}");
    assert!(error.to_string().contains("twinctl backup"), "{error}");
}

#[tokio::test]
async fn a_lost_state_file_is_noticed() {
    let (directory, storage) = fresh();
    let mut group = storage.group(CELL);
    let entries: Vec<_> = (0..10).map(|n| barrier(1, n, n)).collect();
    append(&mut group.log, entries.clone()).await;
    apply(&mut group.state_machine, entries).await;
    storage.checkpoint().await.expect("the disk works");
    openraft::storage::RaftLogStorage::purge(&mut group.log, log_id(1, 5)).await.expect("open");
    storage.shutdown().expect("clean");
    std::fs::remove_file(directory.path().join("state.redb")).expect("removed");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::StateBehind { purged: 5, checkpoint: None, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_file_never_panics() {
    let (directory, storage) = fresh();
    let mut group = storage.group(CELL);
    let entries: Vec<_> = (0..100).map(|n| barrier(1, n, n)).collect();
    append(&mut group.log, entries.clone()).await;
    apply(&mut group.state_machine, entries).await;
    storage.shutdown().expect("clean");
    for file in ["log.redb", "log.journal", "state.redb"] {
        let whole = std::fs::read(directory.path().join(file)).expect("there");
        // Bytes of the header and of the first pages, in turn; and the file cut short.
        for at in (0..4096).step_by(211).chain((4096..whole.len().min(1 << 20)).step_by(131_101)) {
            let damaged = tempfile::tempdir().expect("a directory");
            for other in ["log.redb", "log.journal", "state.redb"] {
                std::fs::copy(directory.path().join(other), damaged.path().join(other)).expect("copied");
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            std::fs::write(damaged.path().join(file), &bytes).expect("written");
            // Opened or refused; what matters is that it is one of the two.
            drop(Storage::open(Options::in_directory(damaged.path())));
            std::fs::write(damaged.path().join(file), &whole[..at.max(1)]).expect("written");
            drop(Storage::open(Options::in_directory(damaged.path())));
        }
    }
}

/// Where the frames of a journal begin.
fn frames(journal: &[u8]) -> Vec<usize> {
    (0..journal.len()).step_by(512).filter(|at| journal[*at..].starts_with(b"TMjf")).collect()
}

#[tokio::test]
async fn what_was_durable_and_is_damaged_is_never_taken_for_the_end_of_the_log() {
    let small = |directory: &Path| Options { log_slot_bytes: 16 * 1024, ..options(directory) };
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(small(directory.path())).expect("new");
    let mut group = storage.group(CELL);
    for n in 0..80 {
        append(&mut group.log, vec![batch(1, n, n, vec![put("a", &"x".repeat(300))])]).await;
    }
    storage.shutdown().expect("clean");
    let path = directory.path().join("log.journal");
    let whole = std::fs::read(&path).expect("there");
    let frames = frames(&whole);
    assert!(frames.len() > 82, "{} frames, in some slots", frames.len());
    // The last one was written by nobody's leave: that it is torn is nothing. All others were durable before it.
    let (last, durable) = frames.split_last().expect("some");
    for at in durable.iter().flat_map(|at| [*at + 20, *at + 50]) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).expect("written");
        match Storage::open(small(directory.path())) {
            Err(OpenError::Damaged { .. }) => {}
            Err(other) => panic!("byte {at}: {other}"),
            // What an entry says in a slot that is not written any more is looked at when it is read.
            Ok(storage) => {
                let read = storage.group(CELL).log.get_log_reader().await.try_get_log_entries(0..80).await;
                assert!(read.is_err(), "byte {at}");
            }
        }
    }
    let mut torn = whole.clone();
    torn[last + 50] ^= 1;
    std::fs::write(&path, &torn).expect("written");
    let storage = Storage::open(small(directory.path())).expect("its end is torn");
    let last = storage.group(CELL).log.get_log_state().await.expect("readable").last_log_id;
    assert_eq!(last, Some(log_id(1, 78)));
}

#[tokio::test]
async fn a_journal_that_was_cut_short_is_refused_wherever_that_was() {
    let (directory, storage) = fresh();
    let mut group = storage.group(CELL);
    for n in 0..20 {
        append(&mut group.log, vec![barrier(1, n, n)]).await;
    }
    drop(storage);
    let path = directory.path().join("log.journal");
    let whole = std::fs::read(&path).expect("there");
    for len in [1, 100, 4096, 8191, 8192, 8193, 12_000, 100_000, whole.len() - 512, whole.len() - 1] {
        std::fs::write(&path, &whole[..len]).expect("written");
        let error = refused(directory.path());
        let is_told = matches!(error, OpenError::Damaged { .. } | OpenError::Foreign { .. });
        assert!(is_told && error.to_string().contains("log.journal"), "{len}: {error}");
    }
    std::fs::write(&path, &whole).expect("written");
    let last = open(directory.path()).group(CELL).log.get_log_state().await.expect("readable").last_log_id;
    assert_eq!(last, Some(log_id(1, 19)));
}

/// Also the newer one, without which nobody knows of the opening that the last frames were written in; and also its version.
#[tokio::test]
async fn one_damaged_copy_of_the_header_loses_nothing() {
    let (directory, storage) = fresh();
    // The header changes while the log begins; what comes last is of the newest copy.
    for n in 0..3 {
        append(&mut storage.group(CELL).log, vec![barrier(1, n, n)]).await;
    }
    drop(storage);
    let path = directory.path().join("log.journal");
    let whole = std::fs::read(&path).expect("there");
    let flipped = [3, 19, 22, 26, 31].into_iter().flat_map(|at| [at, 4096 + at]).map(|at| {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x40;
        (at, damaged)
    });
    let zeroed = [0, 4096].map(|at| {
        let mut damaged = whole.clone();
        damaged[at..at + 4096].fill(0);
        (at, damaged)
    });
    for (at, damaged) in flipped.chain(zeroed) {
        std::fs::write(&path, damaged).expect("written");
        for _ in 0..2 {
            let storage = open(directory.path());
            let last = storage.group(CELL).log.get_log_state().await.expect("readable").last_log_id;
            assert_eq!(last, Some(log_id(1, 2)), "byte {at}");
        }
    }
}

#[test]
fn a_journal_that_is_empty_or_no_file_is_told_as_what_it_is() {
    let (directory, storage) = fresh();
    drop(storage);
    let journal = directory.path().join("log.journal");
    std::fs::write(&journal, "").expect("written");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::Lost { how: Lost::Empty, .. }), "{error}");
    assert!(error.to_string().contains("log.journal is empty"), "{error}");
    #[cfg(unix)]
    for file in ["log.journal", "log.redb", "state.redb"] {
        let path = directory.path().join(file);
        std::fs::remove_file(&path).expect("there");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().expect("runs").success());
        let error = refused(directory.path()).to_string();
        assert!(error.contains(file) && error.contains("it is a pipe"), "{error}");
        std::fs::remove_file(&path).expect("there");
        drop(tempfile::NamedTempFile::new().expect("a file").persist(&path).expect("in its place"));
    }
}

/// A write that a power cut left half done is dropped, and that is said; what lies there from an earlier round of the slot is not.
#[tokio::test]
async fn the_end_of_the_log_that_is_dropped_is_told_in_bytes() {
    let small = |directory: &Path| Options { log_slot_bytes: 16 * 1024, ..options(directory) };
    let unfinished = |directory: &Path| {
        OpenedFiles::open(small(directory)).expect("its end is torn at most").openings().log_unfinished_bytes
    };
    for entries in [5, 400] {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Storage::open(small(directory.path())).expect("new");
        let mut group = storage.group(CELL);
        let mut machine = storage.group(CELL).state_machine;
        for n in 0..entries {
            let entry = batch(1, n, n, vec![put("a", &"x".repeat(700))]);
            append(&mut group.log, vec![entry.clone()]).await;
            apply(&mut machine, vec![entry]).await;
            if n % 50 == 25 {
                // So that slots are written over.
                storage.checkpoint().await.expect("written");
                group.log.purge(log_id(1, n - 5)).await.expect("covered");
            }
        }
        // Killed. After a clean stop a checkpoint covers the last frame: that it is torn is no power cut, and refused.
        drop(storage);
        assert_eq!(unfinished(directory.path()), 0, "{entries} entries, all whole");
        let path = directory.path().join("log.journal");
        let whole = std::fs::read(&path).expect("there");
        let last = frames(&whole).into_iter().max_by_key(|at| whole[at + 16..at + 24].to_vec()).expect("some");
        // Of two sectors the second did not arrive.
        let mut torn = whole.clone();
        torn[last + 512..last + 1024].fill(0);
        std::fs::write(&path, &torn).expect("written");
        let told = unfinished(directory.path());
        assert!((49..=1024).contains(&told), "{entries} entries: {told}");
        // Nor the first, which can only be told from an earlier round where there was none.
        torn[last..last + 512].fill(0);
        torn[last + 600] = 1;
        std::fs::write(&path, &torn).expect("written");
        let told = unfinished(directory.path());
        assert_eq!(told, if entries == 5 { 601 } else { 0 });
    }
}

#[test]
fn files_that_nobody_has_claimed_are_claimed_once_and_those_of_two_nodes_are_refused() {
    let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    // As an earlier release left them.
    drop(open(one.path()));
    let claimed = |directory: &std::path::Path, node: &str| {
        let mut files = OpenedFiles::open(options(directory))?;
        files.claim(node)?;
        assert_eq!(files.node(), Some(node));
        files.start().map(drop)
    };
    assert_eq!(OpenedFiles::open(options(one.path())).expect("ours").node(), None);
    claimed(one.path(), "aaaa").expect("nobody's");
    claimed(one.path(), "aaaa").expect("its own");
    let refused = claimed(one.path(), "bbbb").expect_err("another's").to_string();
    assert!(refused.contains("aaaa") && refused.contains("bbbb") && refused.contains("state.redb"), "{refused}");
    claimed(two.path(), "bbbb").expect("new");
    std::fs::copy(two.path().join("log.redb"), one.path().join("log.redb")).expect("it is there");
    let refused = OpenedFiles::open(options(one.path())).expect_err("two nodes").to_string();
    assert!(refused.contains("log.redb is of node bbbb") || refused.contains("is of node bbbb"), "{refused}");
    // A crash between the two left one that says nothing: the claim goes on.
    drop(open(two.path()));
    let fresh = tempfile::tempdir().expect("a directory");
    drop(open(fresh.path()));
    std::fs::copy(fresh.path().join("log.redb"), two.path().join("log.redb")).expect("it is there");
    claimed(two.path(), "bbbb").expect("half of it is its own");
}
