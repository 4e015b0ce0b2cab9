//! Values at rest that are sealed.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use openraft::storage::{RaftLogReader, RaftLogStorage};
use ring::rand::SystemRandom;
use twin_storage::consensus::openraft;
use twin_storage::redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition};
use twin_storage::{Family, Group, OpenError, Options, SEAL_OVERHEAD_BYTES, SealOptions, StateKey, Storage};

use crate::world::{CELL, append, apply, barrier, batch, crash_copy, eventually, put};

const VALUE: &str = "a value that appears nowhere else";
const KEY: &str = "shelf-label-0001";
const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("twin_hot");
const SEAL: TableDefinition<'static, u32, &[u8]> = TableDefinition::new("seal");

type Rows<'a> = Table<'a, &'static [u8], &'static [u8]>;

fn sealed(directory: &Path, key: u8) -> Options {
    let key = StateKey::from_text(&format!("{key:02x}").repeat(32)).expect("a key");
    Options {
        seal: Some(SealOptions { key, random: Arc::new(SystemRandom::new()) }),
        ..crate::world::options(directory)
    }
}

fn open(directory: &Path) -> Storage {
    Storage::open(sealed(directory, 7)).expect("our key")
}

/// Writes the row under a number, and then that number of rows more.
async fn write(storage: &Storage, first: u64, count: u64) {
    let Group { mut log, mut state_machine, .. } = storage.group(CELL);
    let value = |n: u64| format!("{VALUE} {n}");
    let mut entries = vec![barrier(first, first, first)];
    entries.extend((1..=count).map(|n| {
        batch(first, first + n, first + n, vec![put(KEY, &value(first + n)), put(&format!("k{}", n % 7), &value(n))])
    }));
    append(&mut log, entries.clone()).await;
    apply(&mut state_machine, entries).await;
}

fn read(storage: &Storage) -> Option<String> {
    let value = storage.reader().get(CELL, Family::TwinHot, KEY.as_bytes()).expect("readable");
    value.map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn contains(file: &Path, text: &str) -> bool {
    std::fs::read(file).expect("it is there").windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn no_value_is_in_either_file_and_ids_are_only_in_the_state() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    write(&storage, 1, 20).await;
    let (log, state) = (directory.path().join("log.journal"), directory.path().join("state.redb"));
    storage.checkpoint().await.expect("the disk works");
    for file in [&log, &state] {
        assert!(!contains(file, VALUE), "{}", file.display());
    }
    assert!(contains(&state, KEY) && !contains(&log, KEY));
    // Out of the files again: rows, by key and in order, and entries that left the memory.
    assert_eq!(read(&storage).as_deref(), Some(&*format!("{VALUE} 21")));
    let scan = storage.reader().scan(CELL, Family::TwinHot, b"k", None, 100).expect("readable");
    assert!(scan.rows.len() == 7 && scan.rows.iter().all(|(_, value)| value.starts_with(VALUE.as_bytes())));
    storage.shutdown().expect("the disk works");
    let storage = open(directory.path());
    assert_eq!(read(&storage).as_deref(), Some(&*format!("{VALUE} 21")));
    let mut log = storage.group(CELL).log.get_log_reader().await;
    assert_eq!(log.try_get_log_entries(1..22).await.expect("readable").len(), 21);
}

#[tokio::test]
async fn a_crash_loses_nothing_of_what_is_sealed() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    write(&storage, 1, 5).await;
    storage.checkpoint().await.expect("the disk works");
    write(&storage, 7, 5).await;
    let copy = crash_copy(directory.path());
    let reopened = open(copy.path());
    assert_eq!(read(&reopened).as_deref(), Some(&*format!("{VALUE} 6")), "as of the checkpoint");
    let mut log = reopened.group(CELL).log.get_log_reader().await;
    let entries = log.try_get_log_entries(7..13).await.expect("readable");
    apply(&mut reopened.group(CELL).state_machine, entries).await;
    assert_eq!(read(&reopened).as_deref(), Some(&*format!("{VALUE} 12")));
}

#[tokio::test]
async fn without_the_key_or_with_another_it_is_refused_and_so_is_a_directory_that_was_not_sealed() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    write(&storage, 1, 5).await;
    storage.shutdown().expect("the disk works");
    let refused = |options: Options| Storage::open(options).expect_err("refused");
    let missing = refused(crate::world::options(directory.path()));
    assert!(
        matches!(missing, OpenError::KeyMissing { .. }) && missing.to_string().contains("--encrypt-state"),
        "{missing}"
    );
    let wrong = refused(sealed(directory.path(), 8));
    assert!(matches!(wrong, OpenError::KeyWrong { .. }) && wrong.to_string().contains("another key"), "{wrong}");
    drop(open(directory.path()));
    let plain = tempfile::tempdir().expect("a directory");
    drop(crate::world::open(plain.path()));
    let late = refused(sealed(plain.path(), 7));
    assert!(matches!(late, OpenError::NotSealed { .. }) && late.to_string().contains("twind restore"), "{late}");
    drop(crate::world::open(plain.path()));
}

#[tokio::test]
async fn no_nonce_is_used_twice_under_a_key() {
    let directory = tempfile::tempdir().expect("a directory");
    // A copy of the directory, gone on with beside it: the same numbers, other salts.
    let (mut salts, mut used) = (Vec::new(), 0);
    let mut first = 1;
    for round in 0..4 {
        let storage = open(directory.path());
        write(&storage, first, 8).await;
        storage.checkpoint().await.expect("the disk works");
        first += 9;
        let copy = crash_copy(directory.path());
        let beside = open(copy.path());
        write(&beside, first, 3).await;
        beside.checkpoint().await.expect("the disk works");
        // Each is ended in its own way.
        if round % 2 == 0 {
            storage.shutdown().expect("the disk works");
        } else {
            drop(storage);
        }
        drop(beside);
        for directory in [directory.path(), copy.path()] {
            used += nonces(directory, "state.redb", &mut salts).await;
            used += nonces(directory, "log.redb", &mut salts).await;
        }
    }
    assert!(used > 100, "{used}");
    let (all, different) = (salts.len(), salts.iter().collect::<BTreeSet<_>>().len());
    // Each directory's later salts, and those that the copies have in common with it.
    assert!(all >= different && different >= 16, "{different} of {all}");
    assert!(salts.iter().all(|(salt, _)| salt.len() == 32));
}

/// Checks that no two values of a file have the same nonce under the same salt; how many there were. Adds the file's salts.
async fn nonces(directory: &Path, name: &str, salts: &mut Vec<(Vec<u8>, u32)>) -> usize {
    let file = directory.join(name);
    eventually("the file is closed", || Database::open(&file).is_ok()).await;
    let database = Database::open(&file).expect("closed");
    let read = database.begin_read().expect("readable");
    let mut heads = Vec::new();
    if let Ok(rows) = read.open_table(ROWS) {
        heads.extend(rows.iter().expect("readable").map(|row| row.expect("readable").1.value()[..12].to_vec()));
    }
    if name == "log.redb" {
        heads.extend(entry_heads(&std::fs::read(directory.join("log.journal")).expect("there")));
    }
    assert_eq!(heads.iter().collect::<BTreeSet<_>>().len(), heads.len(), "a nonce is there twice");
    for row in read.open_table(SEAL).expect("it is sealed").iter().expect("readable") {
        let (number, salt) = row.expect("readable");
        if number.value() > 0 {
            salts.push((salt.value().to_vec(), number.value()));
        }
    }
    heads.len()
}

/// The first 12 bytes of each entry in a journal's frames.
fn entry_heads(journal: &[u8]) -> Vec<Vec<u8>> {
    let mut heads = Vec::new();
    for frame in journal.chunks(512).enumerate().filter(|(_, sector)| sector.starts_with(b"TMjf")) {
        let frame = &journal[frame.0 * 512..];
        let number = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four")) as usize;
        let mut at = 48;
        for item in frame[48 + number(44)..].chunks(21).take(number(40)) {
            let bytes = u32::from_be_bytes(item[13..17].try_into().expect("four")) as usize;
            if item[0] == 1 {
                heads.push(frame[at..at + 12].to_vec());
            }
            at += bytes;
        }
    }
    heads
}

#[tokio::test]
async fn a_value_at_anothers_place_or_with_a_bit_flipped_is_not_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = open(directory.path());
    write(&storage, 1, 8).await;
    storage.shutdown().expect("the disk works");
    let row = |key: &str| [&1_u32.to_be_bytes()[..], key.as_bytes()].concat();
    let (ours, other) = (row(KEY), row("k1"));
    let change = |change: &dyn Fn(&mut Rows<'_>)| {
        let database = Database::open(directory.path().join("state.redb")).expect("closed");
        let write = database.begin_write().expect("writable");
        change(&mut write.open_table(ROWS).expect("it is there"));
        write.commit().expect("the disk works");
    };
    let value = |table: &Rows<'_>, key: &[u8]| table.get(key).expect("readable").expect("there").value().to_vec();
    let unreadable = || {
        let storage = open(directory.path());
        let refused = storage.reader().get(CELL, Family::TwinHot, KEY.as_bytes()).expect_err("not ours").to_string();
        assert!(refused.contains("damaged") && refused.contains("state.redb"), "{refused}");
    };
    let original = std::cell::RefCell::new(Vec::new());
    change(&|table| {
        *original.borrow_mut() = value(table, &ours);
        assert!(original.borrow().len() > SEAL_OVERHEAD_BYTES);
        let theirs = value(table, &other);
        table.insert(ours.as_slice(), theirs.as_slice()).expect("writable");
    });
    unreadable();
    for at in [0, 5, 20, original.borrow().len() - 1] {
        change(&|table| {
            let mut flipped = original.borrow().clone();
            flipped[at] ^= 1;
            table.insert(ours.as_slice(), flipped.as_slice()).expect("writable");
        });
        unreadable();
    }
    change(&|table| drop(table.insert(ours.as_slice(), original.borrow().as_slice()).expect("writable")));
    assert!(read(&open(directory.path())).is_some());
}
