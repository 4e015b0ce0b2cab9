//! The log thread: gathers commands into rounds, each one durable commit.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;

use redb::{Database, Table};

use super::command::Command;
use super::group::{GroupLog, SharedDatabase};
use super::tables::{ENTRIES, GROUPS, KIND_BYTES, KIND_COMMITTED, KIND_PURGED, KIND_VOTE, entry_key, group_key};
use crate::budgets::Budgets;
use crate::codec;
use crate::consensus::LogId;
use crate::failure::{DataFile, FailureFlag, StorageFailure};
use crate::limits::{
    LOG_IDLE_FLUSH_AFTER, PURGE_BYTES_PER_ROUND, PURGE_ENTRIES_PER_ROUND, RIDERS_MAX, ROUND_BYTES_MAX, WALKED_BYTES_MAX,
};
use crate::stats::StorageStats;
use crate::stopwatch::Stopwatch;

/// What the thread works on.
pub(crate) struct LogThread {
    pub(crate) database: SharedDatabase,
    /// Bytes of entries on disk, by group.
    pub(crate) bytes: BTreeMap<u32, u64>,
    pub(crate) budgets: Arc<Budgets>,
    pub(crate) failure: FailureFlag,
    pub(crate) stats: Arc<StorageStats>,
    /// Purges that wait for a checkpoint, or for a round with room to delete.
    pub(crate) purges: BTreeMap<u32, (Arc<GroupLog>, LogId)>,
}

/// How a round ended.
enum Next {
    Go,
    Stop,
    Abandon,
}

/// Starts the thread.
pub(crate) fn spawn(thread: LogThread, receiver: Receiver<Command>) -> io::Result<JoinHandle<()>> {
    let failure = thread.failure.clone();
    std::thread::Builder::new().name("twin-log".to_owned()).spawn(move || {
        if catch_unwind(AssertUnwindSafe(|| thread.run(&receiver))).is_err() {
            failure.set(DataFile::Log, "its thread panicked".to_owned());
        }
    })
}

impl LogThread {
    fn run(mut self, receiver: &Receiver<Command>) {
        let mut batch = Vec::new();
        loop {
            let next = self.gather(receiver, &mut batch);
            if matches!(next, Next::Go | Next::Stop) {
                self.round(&mut batch);
            }
            if matches!(next, Next::Stop | Next::Abandon) {
                break;
            }
        }
        // Whoever still waits is told.
        for command in batch.drain(..).chain(receiver.try_iter()) {
            command.complete(Err(io::Error::other("the storage is shut down")));
        }
        // Closes the file: whoever opens it next gets its lock.
        *self.database.write() = None;
    }

    /// Waits until there is a round to make, and takes what belongs to it.
    fn gather(&self, receiver: &Receiver<Command>, batch: &mut Vec<Command>) -> Next {
        let mut forced = false;
        let mut bytes = 0;
        loop {
            // A purge that waits for a checkpoint is looked at again after each idle time.
            let owes = !batch.is_empty() || !self.purges.is_empty();
            // Waits only while nobody waits for us and nothing is left to delete: a round starts as soon as the
            // last one is done.
            let received = if forced || self.can_purge() {
                receiver.try_recv().map_err(|_| RecvTimeoutError::Timeout)
            } else if owes {
                receiver.recv_timeout(LOG_IDLE_FLUSH_AFTER)
            } else {
                receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match received {
                Ok(Command::Stop) => return Next::Stop,
                Ok(Command::Abandon) | Err(RecvTimeoutError::Disconnected) => return Next::Abandon,
                Err(RecvTimeoutError::Timeout) => return Next::Go,
                Ok(command) => {
                    forced |= command.forces_round();
                    bytes += command.bytes();
                    batch.push(command);
                    if bytes >= ROUND_BYTES_MAX || batch.len() >= RIDERS_MAX {
                        return Next::Go;
                    }
                }
            }
        }
    }

    fn can_purge(&self) -> bool {
        // After a failure no round deletes anything: without this the thread would spin.
        self.purges.values().any(|(group, upto)| group.is_checkpointed(upto.index)) && self.failure.check().is_ok()
    }

    fn round(&mut self, batch: &mut Vec<Command>) {
        if batch.is_empty() && !self.can_purge() {
            return;
        }
        // Invariant: after a failure nothing is acked, whatever the disk says later.
        let result = match self.failure.get() {
            Some(failure) => Err(failure),
            None => self.commit(batch).map_err(|error| self.failure.set(DataFile::Log, error.to_string())),
        };
        for command in batch.drain(..) {
            command.complete(result.clone().map_err(StorageFailure::into));
        }
    }

    /// Writes the batch, in its order, as one durable commit.
    fn commit(&mut self, batch: &[Command]) -> Result<(), redb::Error> {
        let watch = Stopwatch::start();
        let database = Arc::clone(&self.database);
        let database = database.read();
        let database: &Database = database.as_ref().ok_or(redb::Error::DatabaseClosed)?;
        let mut write = database.begin_write()?;
        write.set_quick_repair(self.keeps_account(batch));
        let mut freed = 0;
        let (mut appends, mut entry_count, mut entry_bytes) = (0, 0, 0);
        {
            let mut entries = write.open_table(ENTRIES)?;
            let mut groups = write.open_table(GROUPS)?;
            let mut touched: BTreeMap<u32, i64> = BTreeMap::new();
            for command in batch {
                match command {
                    Command::Append { group, entries: fresh, bytes, .. } => {
                        for (index, record) in fresh {
                            entries.insert(&entry_key(group.number(), *index), record.as_slice())?;
                        }
                        *touched.entry(group.number()).or_default() += bytes.cast_signed();
                        appends += 1;
                        entry_count += fresh.len() as u64;
                        entry_bytes += bytes;
                    }
                    Command::Vote { group, vote, .. } => {
                        groups.insert(&group_key(group.number(), KIND_VOTE), vote.as_slice())?;
                    }
                    Command::Truncate { group, from, .. } => {
                        let removed = remove(&mut entries, group.number(), *from, u64::MAX, Room::UNBOUNDED)?;
                        *touched.entry(group.number()).or_default() -= removed.bytes.cast_signed();
                        freed += removed.bytes;
                    }
                    Command::Committed { group, committed } => {
                        groups.insert(&group_key(group.number(), KIND_COMMITTED), committed.as_slice())?;
                    }
                    Command::Purge { group, upto } => {
                        let purge = self.purges.entry(group.number()).or_insert((Arc::clone(group), *upto));
                        purge.1 = purge.1.max(*upto);
                    }
                    Command::Stop | Command::Abandon => {}
                }
            }
            let count = PURGE_ENTRIES_PER_ROUND.max(2 * entry_count as usize);
            let room = Room { count, bytes: PURGE_BYTES_PER_ROUND };
            freed += self.purge(&mut entries, &mut groups, &mut touched, room)?;
            for (group, change) in touched {
                let bytes = self.bytes.entry(group).or_default();
                *bytes = bytes.saturating_add_signed(change);
                groups.insert(&group_key(group, KIND_BYTES), encode(bytes)?.as_slice())?;
            }
        }
        let commit = Stopwatch::start();
        write.commit()?;
        self.stats.commit_latency.record(commit.elapsed());
        self.budgets.sub_log(freed);
        self.stats.rounds.add(1);
        self.stats.appends.add(appends);
        self.stats.entries.add(entry_count);
        self.stats.entry_bytes.add(entry_bytes);
        self.stats.round_latency.record(watch.elapsed());
        Ok(())
    }

    /// Is the round committed so that the file is open at once after a kill? Otherwise opening it walks all entries, about a
    /// millisecond for each megabyte. But it takes a commit a second fsync and half as much CPU again. So rounds that somebody
    /// waits for do without, as long as the walk would be short; and after some quiet comes a round that nobody waits for, so that
    /// a node at rest is open at once.
    fn keeps_account(&self, batch: &[Command]) -> bool {
        let waited_for = batch.iter().any(Command::forces_round);
        let log_bytes: u64 = self.bytes.values().sum();
        !waited_for || log_bytes >= WALKED_BYTES_MAX
    }

    /// Deletes what may be purged, oldest first, some each round. The purged id is written with the first
    /// deletion: what is still there below it is no longer part of the log.
    ///
    /// Invariant: nothing above the group's durable checkpoint is deleted, because until then the rows are
    /// nowhere else.
    fn purge(
        &mut self,
        entries: &mut Table<'_, &'static [u8; 12], &'static [u8]>,
        groups: &mut Table<'_, &'static [u8; 5], &'static [u8]>,
        touched: &mut BTreeMap<u32, i64>,
        mut room: Room,
    ) -> Result<u64, redb::Error> {
        let mut freed = 0;
        let mut done = Vec::new();
        for (number, (group, upto)) in &self.purges {
            if !group.is_checkpointed(upto.index) {
                continue;
            }
            // Even without room to delete: what is appended behind a snapshot must not leave a hole.
            groups.insert(&group_key(*number, KIND_PURGED), encode(&Some(*upto))?.as_slice())?;
            let removed = remove(entries, *number, 0, upto.index, room)?;
            *touched.entry(*number).or_default() -= removed.bytes.cast_signed();
            freed += removed.bytes;
            room.count = room.count.saturating_sub(removed.count);
            room.bytes = room.bytes.saturating_sub(removed.bytes);
            if !room.is_used_up() {
                done.push(*number);
            }
        }
        for number in done {
            self.purges.remove(&number);
        }
        Ok(freed)
    }
}

/// How much may be deleted, or was.
#[derive(Clone, Copy)]
struct Room {
    count: usize,
    bytes: u64,
}

impl Room {
    const UNBOUNDED: Self = Self { count: usize::MAX, bytes: u64::MAX };

    fn is_used_up(self) -> bool {
        self.count == 0 || self.bytes == 0
    }
}

/// Removes entries of the range, in order, until the room is used up; says how much it was.
fn remove(
    entries: &mut Table<'_, &'static [u8; 12], &'static [u8]>,
    group: u32,
    from: u64,
    to: u64,
    room: Room,
) -> Result<Room, redb::Error> {
    let mut removed = Room { count: 0, bytes: 0 };
    let (from, to) = (entry_key(group, from), entry_key(group, to));
    let mut rows = entries.extract_from_if::<&[u8; 12], _>(&from..=&to, |_, _| true)?;
    // What is not read from the iterator is not removed.
    while removed.count < room.count && removed.bytes < room.bytes {
        let Some(row) = rows.next() else { break };
        removed.bytes += row?.1.value().len() as u64;
        removed.count += 1;
    }
    Ok(removed)
}

fn encode<T: serde::Serialize>(record: &T) -> Result<Vec<u8>, redb::Error> {
    codec::encode(record, 0).map_err(|error| redb::Error::Corrupted(error.to_string()))
}
