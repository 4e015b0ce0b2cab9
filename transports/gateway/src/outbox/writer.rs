//! The one thread that commits. All that was queued while it was at the last commit goes into the next one: many appends, one
//! fsync. Removals do not wake it; they ride along, or are flushed after a short idle time. A crash before that only means
//! that messages are sent again, which their numbers make harmless.
//!
//! What is queued and what comes of it is [`super::queue`]'s; this file is the thread and the transaction.

use std::cmp::min;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use redb::{Database, WriteTransaction};

use crate::core::Core;
use crate::limits::QUICK_REPAIR_FROM_BYTES;
use crate::outbox::format::{
    CHUNKS, DEAD_LETTERS, DEAD_LETTERS_KEY, FLASH_KEY, META, META_KEY, NOTES, PATHS, POSITIONS, TWINS,
};
use crate::outbox::queue::{Extent, Promise, Taken, Write};
use crate::shared::Shared;

/// Runs until the queue is closed and empty, or the disk fails; then the file is free.
pub(crate) fn run(shared: &Shared) {
    let db = shared.core.lock().db.clone();
    if let Some(db) = db {
        write_all(shared, &db);
    }
    let last = shared.core.lock().db.take();
    drop(last);
}

fn write_all(shared: &Shared, db: &Database) {
    while let Some(taken) = next(shared) {
        let Taken { writes, upto, file_bytes } = taken;
        if writes.is_empty() {
            // Only word of what is gone, and the rows that it was about went meanwhile.
            shared.with(|core, now| core.written(upto, now));
            continue;
        }
        match apply(db, &writes, file_bytes) {
            Ok(()) => {
                shared.with(|core, now| core.written(upto, now));
                finish(&writes, &Ok(()));
            }
            Err(error) => {
                let message: Arc<str> = error.to_string().into();
                tracing::error!(%message, "the outbox cannot be written: the gateway takes no more reports");
                // Those who queued meanwhile wait for a commit that will not come; nobody can queue any more.
                let queued = shared.with(|core, _| {
                    core.writes.fail(Arc::clone(&message));
                    core.take_writes(Extent::All, true).writes
                });
                finish(&writes, &Err(Arc::clone(&message)));
                finish(&queued, &Err(message));
                shared.fail();
                return;
            }
        }
    }
}

fn finish(writes: &[Write], result: &Result<(), Arc<str>>) {
    for promise in writes.iter().filter_map(Write::promise) {
        Promise::finish(promise, result.clone());
    }
}

/// Waits until there is something to commit; `None`: no more will come.
fn next(shared: &Shared) -> Option<Taken> {
    let mut core = shared.core.lock();
    let (extent, notes) = wait(shared, &mut core)?;
    Some(core.take_writes(extent, notes))
}

/// Waits until somebody waits for a commit, or what was patient has waited long enough; or until there was a time without any
/// commit, for what can wait. Says what to take, and whether with all notes. `None`: closed, and all is written.
fn wait(shared: &Shared, core: &mut MutexGuard<'_, Core>) -> Option<(Extent, bool)> {
    let mut idle_until = None;
    let mut now = shared.clock.monotonic();
    loop {
        let waiting = core.has_lazy_writes();
        if core.writes.is_closing() {
            return (waiting || !core.writes.is_empty()).then_some((Extent::All, true));
        }
        if core.writes.is_urgent() {
            return Some((Extent::All, false));
        }
        if core.writes.due().is_some_and(|due| due <= now) {
            // What has waited for half its time is likely to be due soon: so commits are at least as far apart.
            return Some((Extent::Due(now + core.patience() / 2), false));
        }
        idle_until = waiting.then(|| idle_until.unwrap_or(now + core.idle_flush_after()));
        if idle_until.is_some_and(|until| until <= now) {
            return Some((Extent::Idle, true));
        }
        let until = min(core.writes.due().unwrap_or(Duration::MAX), idle_until.unwrap_or(Duration::MAX));
        core.writes.sleeps(Some(until));
        if until == Duration::MAX {
            shared.writer_wake.wait(core);
            now = shared.clock.monotonic();
        } else {
            let elapsed = shared.writer_wake.wait_for(core, until.saturating_sub(now)).timed_out();
            now = shared.clock.monotonic();
            if elapsed {
                // Also where the clock that was handed in stands still.
                now = now.max(until);
            }
        }
        core.writes.sleeps(None);
    }
}

/// One transaction, one fsync as long as the file is small. `file_bytes`: what the rows of messages take, about.
fn apply(db: &Database, writes: &[Write], file_bytes: u64) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    // Reopening after a kill walks what the file holds, 100 MB in about 100 ms, unless commits keep account of it, which takes
    // each of them a second fsync and half as much CPU again. So they do where the walk would be long.
    txn.set_quick_repair(file_bytes >= QUICK_REPAIR_FROM_BYTES);
    // Most commits concern rows of messages only, and each table that is opened costs.
    let mut rare = false;
    {
        let mut chunks = txn.open_table(CHUNKS)?;
        for write in writes {
            match write {
                Write::Chunk { key, row, .. } => drop(chunks.insert(key, &**row)?),
                Write::Remove { key, noted } => {
                    chunks.remove(key)?;
                    rare |= *noted;
                }
                Write::Spared => {}
                _ => rare = true,
            }
        }
    }
    if rare {
        apply_rare(&txn, writes)?;
    }
    txn.commit()?;
    Ok(())
}

/// All that is not rows of messages, in order.
fn apply_rare(txn: &WriteTransaction, writes: &[Write]) -> Result<(), redb::Error> {
    let mut notes = txn.open_table(NOTES)?;
    let mut twins = txn.open_table(TWINS)?;
    let mut positions = txn.open_table(POSITIONS)?;
    let mut dead_letters = txn.open_table(DEAD_LETTERS)?;
    for write in writes {
        match write {
            Write::Chunk { .. } | Write::Spared | Write::Remove { noted: false, .. } => {}
            Write::Remove { key, noted: true } => drop(notes.remove(key)?),
            Write::Note { key, row } => drop(notes.insert(key, row.as_slice())?),
            Write::Path { index, row } => drop(txn.open_table(PATHS)?.insert(index, row.as_slice())?),
            Write::Twin { id, row } => drop(twins.insert(id.as_str(), row.as_slice())?),
            Write::Position { source, position } => drop(positions.insert(&**source, position)?),
            Write::Bury { key, row, dropped_keys } => {
                dead_letters.insert(key, row.as_slice())?;
                for key in dropped_keys {
                    dead_letters.remove(key)?;
                }
            }
            Write::Unbury { keys } => {
                for key in keys {
                    dead_letters.remove(key)?;
                }
            }
            Write::DeadLetters { row } => drop(txn.open_table(META)?.insert(DEAD_LETTERS_KEY, row.as_slice())?),
            Write::Flash { row } => drop(txn.open_table(META)?.insert(FLASH_KEY, row.as_slice())?),
            Write::Meta { row } => drop(txn.open_table(META)?.insert(META_KEY, row.as_slice())?),
        }
    }
    Ok(())
}

/// Commits what is queued, as the writer would that has more to do; `all`: and what could wait, as in idle time. `accounts`: as if
/// the file were large. For tests that drive the state by hand.
#[cfg(test)]
pub(crate) fn commit(core: &mut Core, all: bool, accounts: bool, now: Duration) -> Result<(), redb::Error> {
    let Taken { writes, upto, file_bytes } = core.take_writes(Extent::All, all);
    if let Some(db) = core.db.clone() {
        apply(&db, &writes, if accounts { u64::MAX } else { file_bytes })?;
    }
    core.written(upto, now);
    finish(&writes, &Ok(()));
    Ok(())
}
