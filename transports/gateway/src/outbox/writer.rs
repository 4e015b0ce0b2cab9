//! The one thread that commits. All that was queued while it was at the last commit goes into the next one: many appends, one
//! fsync. Removals do not wake it; they ride along, or are flushed after a short idle time. A crash before that only means
//! that messages are sent again, which their numbers make harmless.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use redb::{Database, WriteTransaction};
use tokio::sync::Notify;
use twin_core::ids::TwinId;

use crate::limits::IDLE_FLUSH_AFTER;
use crate::outbox::format::{CHUNKS, DEAD_LETTERS, META, META_KEY, NOTES, PATHS, POSITIONS, TWINS};
use crate::shared::Shared;

/// One change of the file.
#[derive(Debug)]
pub(crate) enum Write {
    /// Messages that were appended together.
    Chunk {
        key: u64,
        row: Bytes,
    },
    /// What became of some of them.
    Note {
        key: u64,
        row: Vec<u8>,
    },
    /// All of them are done.
    Remove {
        key: u64,
        noted: bool,
    },
    Path {
        index: u32,
        row: Vec<u8>,
    },
    Twin {
        id: TwinId,
        row: Vec<u8>,
    },
    Position {
        source: Arc<str>,
        position: u64,
    },
    Bury {
        key: u64,
        row: Vec<u8>,
        dropped_keys: Vec<u64>,
    },
    Meta {
        row: Vec<u8>,
    },
}

/// One commit: everybody whose append is in it waits here.
#[derive(Debug, Default)]
pub(crate) struct Commit {
    done: OnceLock<Result<(), Arc<str>>>,
    notify: Notify,
}

impl Commit {
    /// Waits until it is durable.
    pub(crate) async fn wait(&self) -> Result<(), Arc<str>> {
        loop {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before looking, so that a commit in between is not missed.
            notified.as_mut().enable();
            if let Some(done) = self.done.get() {
                return done.clone();
            }
            notified.await;
        }
    }

    fn finish(&self, result: Result<(), Arc<str>>) {
        // Only the writer finishes a commit, once.
        let _ = self.done.set(result);
        self.notify.notify_waiters();
    }
}

/// Writes in order, and how far they are durable. Writes are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct WriteQueue {
    writes: Vec<Write>,
    queued_bytes: u64,
    issued: u64,
    durable: u64,
    urgent: bool,
    closing: bool,
    idle: bool,
    failed: Option<Arc<str>>,
    commit: Arc<Commit>,
}

impl WriteQueue {
    /// Queues a write that can wait; returns its number.
    pub(crate) fn push_lazy(&mut self, write: Write) -> u64 {
        match &write {
            Write::Bury { row, .. } => self.queued_bytes += row.len() as u64,
            Write::Chunk { row, .. } => self.queued_bytes += row.len() as u64,
            _ => {}
        }
        self.writes.push(write);
        self.issued += 1;
        self.issued
    }

    /// A place in the queue for a chunk whose row still grows: the write's number, and the place for [`WriteQueue::fill`].
    /// **Invariant:** it is filled before the queue is taken.
    pub(crate) fn reserve(&mut self, key: u64) -> (u64, usize) {
        (self.push(Write::Chunk { key, row: Bytes::new() }), self.writes.len() - 1)
    }

    /// The row of a chunk that a place was reserved for.
    pub(crate) fn fill(&mut self, slot: usize, filled: Bytes) {
        if let Some(Write::Chunk { row, .. }) = self.writes.get_mut(slot) {
            *row = filled;
        }
    }

    /// A row that a place was reserved for grew by so much.
    pub(crate) fn grows(&mut self, bytes: u64) {
        self.queued_bytes += bytes;
        self.urgent = true;
    }

    /// Is somebody waiting for what is queued?
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent || self.closing
    }

    /// The writer sleeps without a time to wake up at.
    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }

    /// Queues a write that somebody waits for.
    pub(crate) fn push(&mut self, write: Write) -> u64 {
        self.urgent = true;
        self.push_lazy(write)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// What is queued is waited for.
    pub(crate) fn urge(&mut self) {
        self.urgent |= !self.writes.is_empty();
    }

    /// The last write queued so far.
    pub(crate) fn issued(&self) -> u64 {
        self.issued
    }

    /// The last write that is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// The commit that what is queued now will be in.
    pub(crate) fn commit(&self) -> Arc<Commit> {
        Arc::clone(&self.commit)
    }

    pub(crate) fn failed(&self) -> Option<&Arc<str>> {
        self.failed.as_ref()
    }

    /// No more writes will come: commit what there is and stop.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    pub(crate) fn take(&mut self) -> (Vec<Write>, u64, Arc<Commit>) {
        self.urgent = false;
        self.queued_bytes = 0;
        (std::mem::take(&mut self.writes), self.issued, std::mem::take(&mut self.commit))
    }

    fn finished(&mut self, upto: u64, result: &Result<(), Arc<str>>) {
        match result {
            Ok(()) => self.durable = upto,
            Err(message) => self.failed = Some(Arc::clone(message)),
        }
    }
}

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
    loop {
        let mut core = shared.core.lock();
        let mut all = false;
        loop {
            let waiting = core.has_writes();
            if core.writes.urgent || (core.writes.closing && waiting) {
                break;
            }
            if core.writes.closing {
                return;
            }
            if !waiting {
                core.writes.idle = true;
                shared.writer_wake.wait(&mut core);
                core.writes.idle = false;
            } else if shared.writer_wake.wait_for(&mut core, IDLE_FLUSH_AFTER).timed_out() {
                all = true;
                break;
            }
        }
        let all = all || core.writes.closing;
        let (writes, upto, commit) = core.take_writes(all);
        drop(core);
        let result = apply(db, writes).map_err(|error| -> Arc<str> { error.to_string().into() });
        if let Err(message) = &result {
            tracing::error!(%message, "the outbox cannot be written: the gateway takes no more reports");
        }
        shared.with(|core, now| {
            core.writes.finished(upto, &result);
            core.written(now);
        });
        let failed = result.is_err();
        commit.finish(result.clone());
        if failed {
            // Those who queued meanwhile wait for a commit that will not come; nobody can queue any more.
            let next = shared.with(|core, _| core.writes.commit());
            next.finish(result);
            shared.fail();
            return;
        }
    }
}

fn apply(db: &Database, writes: Vec<Write>) -> Result<(), redb::Error> {
    let mut txn = db.begin_write()?;
    // Costs little and makes reopening after a kill take a millisecond.
    txn.set_quick_repair(true);
    // Most commits concern rows of messages only, and each table that is opened costs.
    let mut rare = Vec::new();
    {
        let mut chunks = txn.open_table(CHUNKS)?;
        for write in writes {
            match write {
                Write::Chunk { key, row } => drop(chunks.insert(key, &*row)?),
                Write::Remove { key, noted } => {
                    chunks.remove(key)?;
                    if noted {
                        rare.push(Write::Remove { key, noted });
                    }
                }
                write => rare.push(write),
            }
        }
    }
    if !rare.is_empty() {
        apply_rare(&txn, rare)?;
    }
    txn.commit()?;
    Ok(())
}

/// All that is not rows of messages, in order.
fn apply_rare(txn: &WriteTransaction, writes: Vec<Write>) -> Result<(), redb::Error> {
    let mut notes = txn.open_table(NOTES)?;
    let mut twins = txn.open_table(TWINS)?;
    let mut positions = txn.open_table(POSITIONS)?;
    let mut dead_letters = txn.open_table(DEAD_LETTERS)?;
    for write in writes {
        match write {
            Write::Chunk { .. } => {}
            Write::Remove { key, .. } => drop(notes.remove(key)?),
            Write::Note { key, row } => drop(notes.insert(key, row.as_slice())?),
            Write::Path { index, row } => drop(txn.open_table(PATHS)?.insert(index, row.as_slice())?),
            Write::Twin { id, row } => drop(twins.insert(id.as_str(), row.as_slice())?),
            Write::Position { source, position } => drop(positions.insert(&*source, position)?),
            Write::Bury { key, row, dropped_keys } => {
                dead_letters.insert(key, row.as_slice())?;
                for key in dropped_keys {
                    dead_letters.remove(key)?;
                }
            }
            Write::Meta { row } => drop(txn.open_table(META)?.insert(META_KEY, row.as_slice())?),
        }
    }
    Ok(())
}

/// Commits what is queued and what could wait, as the writer would in idle time: for tests that drive the state by hand.
#[cfg(test)]
pub(crate) fn commit_now(core: &mut crate::core::Core, now: std::time::Duration) {
    commit(core, true, now);
}

/// Commits what is queued, as the writer would that has more to do.
#[cfg(test)]
pub(crate) fn commit_urgent(core: &mut crate::core::Core, now: std::time::Duration) {
    commit(core, false, now);
}

#[cfg(test)]
fn commit(core: &mut crate::core::Core, all: bool, now: std::time::Duration) {
    let (writes, upto, commit) = core.take_writes(all);
    if let Some(db) = core.db.clone() {
        apply(&db, writes).unwrap();
    }
    core.writes.finished(upto, &Ok(()));
    core.written(now);
    commit.finish(Ok(()));
}
