//! A journal that is not the one which was beside the state: an older copy of it, or one whose end was overwritten.

use std::path::Path;

use tempfile::TempDir;
use twin_storage::{OpenError, Options, Storage};

use crate::world::{CELL, append, apply, batch, log_id, open, options, put};

/// Small slots: the log goes on in several.
fn small(directory: &Path) -> Options {
    Options { log_slot_bytes: 16 * 1024, ..options(directory) }
}

fn journal(directory: &Path) -> std::path::PathBuf {
    directory.join("log.journal")
}

/// Appends and applies entries, a round each.
async fn commit(storage: &Storage, entries: std::ops::Range<u64>) {
    let mut group = storage.group(CELL);
    for n in entries {
        let entry = batch(1, n, n, vec![put(&format!("key-{n}"), &"x".repeat(700))]);
        append(&mut group.log, vec![entry.clone()]).await;
        apply(&mut group.state_machine, vec![entry]).await;
    }
}

/// Where the frames of a journal are, in the order in which they were written.
fn frames(journal: &[u8]) -> Vec<usize> {
    let mut frames: Vec<usize> =
        (0..journal.len()).step_by(512).filter(|at| journal[*at..].starts_with(b"TMjf")).collect();
    frames.sort_by_key(|at| journal[at + 16..at + 24].to_vec());
    frames
}

fn is_behind(directory: &Path, when: &str) {
    let error = Storage::open(small(directory)).map(drop).expect_err(when);
    assert!(matches!(error, OpenError::LogBehind { found, durable, .. } if found < durable), "{when}: {error}");
    let said = error.to_string();
    for text in ["log.journal ends with frame", "state.redb says", "older copy", "twind restore --from"] {
        assert!(said.contains(text), "{when}: {said}");
    }
}

#[tokio::test]
async fn an_older_copy_of_the_journal_is_refused_and_the_newest_is_taken_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = journal(directory.path());
    let mut copies = Vec::new();
    for life in 0..4 {
        let storage = Storage::open(small(directory.path())).expect("its own files");
        commit(&storage, life * 10..life * 10 + 5).await;
        copies.push(std::fs::read(&path).expect("there"));
        commit(&storage, life * 10 + 5..life * 10 + 10).await;
        storage.checkpoint().await.expect("written");
        copies.push(std::fs::read(&path).expect("there"));
        // Killed.
        drop(storage);
    }
    let newest = copies.pop().expect("some");
    for (at, older) in copies.iter().enumerate() {
        std::fs::write(&path, older).expect("written");
        is_behind(directory.path(), &format!("copy {at}"));
    }
    std::fs::write(&path, newest).expect("written");
    let storage = Storage::open(small(directory.path())).expect("the newest");
    assert_eq!(storage.reader().applied(CELL).expect("open"), Some(log_id(1, 39)));
}

/// What a group of its own has in the log is not all that there is: a vote alone must not be taken back either.
#[tokio::test]
async fn a_copy_that_lacks_a_vote_alone_is_refused() {
    use openraft::storage::RaftLogStorage as _;
    use twin_storage::consensus::{LeaderId, openraft, openraft::impls};

    let (directory, storage) = crate::world::fresh();
    commit(&storage, 0..3).await;
    let older = std::fs::read(journal(directory.path())).expect("there");
    let vote = impls::Vote { leader_id: LeaderId { term: 7, voted_for: 1 }, committed: false };
    storage.group(CELL).log.save_vote(&vote).await.expect("durable");
    storage.checkpoint().await.expect("written");
    drop(storage);
    std::fs::write(journal(directory.path()), older).expect("written");
    let error = Storage::open(options(directory.path())).expect_err("it lacks the vote");
    assert!(matches!(error, OpenError::LogBehind { .. }), "{error}");
}

/// 40 entries, each a frame; the last checkpoint covers all but `uncovered` of them.
async fn written(uncovered: u64) -> (TempDir, Vec<u8>, Vec<usize>) {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = Storage::open(small(directory.path())).expect("new");
    commit(&storage, 0..40 - uncovered).await;
    storage.checkpoint().await.expect("written");
    commit(&storage, 40 - uncovered..40).await;
    if uncovered == 0 {
        storage.shutdown().expect("clean");
    }
    let whole = std::fs::read(journal(directory.path())).expect("there");
    let frames = frames(&whole);
    (directory, whole, frames)
}

/// After a clean stop all is covered; after a kill, what the last checkpoint covers. Behind that the file alone cannot tell.
#[tokio::test]
async fn an_end_overwritten_with_zeros_is_refused_wherever_a_checkpoint_covers_it() {
    for uncovered in [0, 3] {
        let (directory, mut damaged, frames) = written(uncovered).await;
        assert!(frames.len() > 40, "{} frames, in some slots", frames.len());
        for (gone, at) in (1_u64..).zip(frames.iter().rev()).take(20) {
            // All that was written of it.
            let end = (*at + 4096).min(damaged.len());
            let next = frames.iter().filter(|next| *next > at).min().copied().unwrap_or(end);
            damaged[*at..next.min(end)].fill(0);
            std::fs::write(journal(directory.path()), &damaged).expect("written");
            if gone > uncovered {
                is_behind(directory.path(), &format!("{gone} frames of {uncovered} that no checkpoint covers"));
            } else {
                let storage = Storage::open(small(directory.path())).expect("nobody can know");
                drop(storage);
            }
        }
    }
}

/// Whatever comes behind a hole was written when what was in it was on the disk.
#[tokio::test]
async fn a_hole_of_zeros_with_anything_behind_it_is_refused_also_where_no_checkpoint_covers_it() {
    let (directory, whole, frames) = written(39).await;
    let count = frames.len();
    for first in 1..count - 1 {
        for last in [first, first + 1, count - 2] {
            if last >= count - 1 || last < first {
                continue;
            }
            let mut damaged = whole.clone();
            for (at, next) in frames[first..=last].iter().zip(&frames[first + 1..]) {
                let end = if next > at { *next } else { at + 512 };
                damaged[*at..end].fill(0);
            }
            std::fs::write(journal(directory.path()), &damaged).expect("written");
            let Err(error) = Storage::open(small(directory.path())) else {
                panic!("frames {first} to {last} of {count} are gone, and nobody says so")
            };
            assert!(matches!(error, OpenError::Damaged { .. }), "frames {first} to {last}: {error}");
            assert!(error.to_string().contains("log.journal"), "{error}");
        }
    }
    std::fs::write(journal(directory.path()), &whole).expect("written");
    drop(open(directory.path()));
}
