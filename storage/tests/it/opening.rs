//! Files that are not ours, not readable, or in use: a typed refusal, never a panic.

use std::path::Path;

use twin_storage::consensus::openraft;
use twin_storage::redb::{Database, TableDefinition};
use twin_storage::{FORMAT_VERSION, OpenError, Options, Storage};

use crate::world::{CELL, append, apply, barrier, fresh, log_id, open};

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

#[tokio::test]
async fn a_lost_log_file_is_noticed() {
    let (directory, storage) = fresh();
    let mut group = storage.group(CELL);
    append(&mut group.log, vec![barrier(1, 0, 0)]).await;
    apply(&mut group.state_machine, vec![barrier(1, 0, 0)]).await;
    storage.shutdown().expect("clean");
    std::fs::remove_file(directory.path().join("log.redb")).expect("removed");
    let error = refused(directory.path());
    assert!(matches!(error, OpenError::LogLost { group: CELL, .. }), "{error}");
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
    for file in ["log.redb", "state.redb"] {
        let whole = std::fs::read(directory.path().join(file)).expect("there");
        // Bytes of the header and of the first pages, in turn; and the file cut short.
        for at in (0..4096).step_by(211).chain((4096..whole.len().min(1 << 20)).step_by(131_101)) {
            let damaged = tempfile::tempdir().expect("a directory");
            for other in ["log.redb", "state.redb"] {
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
