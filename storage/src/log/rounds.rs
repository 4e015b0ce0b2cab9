//! The log thread: gathers commands into rounds, each appended to the journal and synced once.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;

use super::command::Command;
use super::group::{GroupLog, SharedFile};
use super::journal::{Frame, Journal, Kind, Place, Roots};
use super::open::StoredGroup;
use crate::budgets::Budgets;
use crate::codec;
use crate::consensus::LogId;
use crate::failure::{DataFile, FailureFlag, StorageFailure};
use crate::guard::OpenDatabase;
use crate::limits::{LOG_IDLE_FLUSH_AFTER, RIDERS_MAX, ROUND_BYTES_MAX};
use crate::stats::StorageStats;
use crate::stopwatch::Stopwatch;

/// What the thread works on.
pub(crate) struct LogThread {
    journal: Journal,
    /// The journal's file, as the groups read it.
    file: SharedFile,
    /// `log.redb`, whose lock is kept.
    origin: OpenDatabase,
    /// As of the last frame that was written.
    roots: BTreeMap<u32, Roots>,
    groups: BTreeMap<u32, Arc<GroupLog>>,
    /// Purges that wait for a checkpoint.
    purges: BTreeMap<u32, (Arc<GroupLog>, LogId)>,
    /// The frame that is being made; empty between rounds.
    frame: Frame,
    /// What is true when the round is durable, in order; empty between rounds.
    effects: Vec<Effect>,
    budgets: Arc<Budgets>,
    failure: FailureFlag,
    stats: Arc<StorageStats>,
}

/// What is true of a group once a round is durable.
enum Effect {
    /// Its entry is there. The place is known when its frame is written.
    Written {
        group: Arc<GroupLog>,
        index: u64,
        place: Option<Place>,
    },
    /// Its entry was carried from one place to another.
    Carried {
        group: Arc<GroupLog>,
        index: u64,
        from: Place,
        place: Option<Place>,
    },
    Truncated {
        group: Arc<GroupLog>,
        from: u64,
    },
    Purged {
        group: Arc<GroupLog>,
        upto: u64,
    },
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
            failure.set(DataFile::Journal, "its thread panicked".to_owned());
        }
    })
}

impl LogThread {
    pub(crate) fn new(
        journal: Journal,
        file: SharedFile,
        origin: OpenDatabase,
        stored: &BTreeMap<u32, StoredGroup>,
        groups: BTreeMap<u32, Arc<GroupLog>>,
        (budgets, failure, stats): (Arc<Budgets>, FailureFlag, Arc<StorageStats>),
    ) -> Self {
        let roots = stored.iter().map(|(number, group)| (*number, group.roots.clone())).collect();
        let (frame, effects, purges) = (Frame::new(), Vec::new(), BTreeMap::new());
        Self { journal, file, origin, roots, groups, purges, frame, effects, budgets, failure, stats }
    }

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
        // Closes the files: whoever opens them next gets their locks.
        *self.file.write() = None;
        if let Err(error) = self.journal.close() {
            tracing::warn!(%error, "the journal's lock could not be given back");
        }
        if let Err(error) = self.origin.close() {
            self.failure.set_error(DataFile::Log, &error.into());
        }
    }

    /// Waits until there is a round to make, and takes what belongs to it.
    fn gather(&self, receiver: &Receiver<Command>, batch: &mut Vec<Command>) -> Next {
        let mut forced = false;
        let mut bytes = 0;
        loop {
            // A purge that waits for a checkpoint is looked at again after each idle time.
            let owes = !batch.is_empty() || !self.purges.is_empty();
            // Waits only while nobody waits for us and nothing is left to purge: a round starts as soon as the
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
        // After a failure no round purges anything: without this the thread would spin.
        self.purges.values().any(|(group, upto)| group.is_checkpointed(upto.index)) && self.failure.check().is_ok()
    }

    fn round(&mut self, batch: &mut Vec<Command>) {
        if batch.is_empty() && !self.can_purge() {
            return;
        }
        // Invariant: after a failure nothing is acked, whatever the disk says later.
        let result = match self.failure.get() {
            Some(failure) => Err(failure),
            None => self.commit(batch).map_err(|error| self.failure.set_io(DataFile::Journal, &error)),
        };
        for command in batch.drain(..) {
            command.complete(result.clone().map_err(StorageFailure::into));
        }
        // When nobody waits any more, and between rounds: what a round truncates or purges must not come back behind that.
        if result.is_ok()
            && let Err(error) = self.carry().and_then(|()| self.journal.keep_spare())
        {
            self.failure.set_io(DataFile::Journal, &error);
        }
    }

    /// Writes the batch, in its order, and makes it durable.
    fn commit(&mut self, batch: &[Command]) -> io::Result<()> {
        let watch = Stopwatch::start();
        let (mut appends, mut entry_count, mut entry_bytes) = (0, 0, 0);
        self.purge()?;
        for command in batch {
            match command {
                Command::Append { group, entries, bytes, .. } => {
                    for (index, record) in entries {
                        let effect = Effect::Written { group: Arc::clone(group), index: *index, place: None };
                        self.put(Kind::Entry, group.number(), *index, record, Some(effect))?;
                    }
                    self.groups.entry(group.number()).or_insert_with(|| Arc::clone(group));
                    appends += 1;
                    entry_count += entries.len() as u64;
                    entry_bytes += bytes;
                }
                Command::Vote { group, vote, .. } => self.put(Kind::Vote, group.number(), 0, vote, None)?,
                Command::Truncate { group, from, .. } => {
                    let effect = Effect::Truncated { group: Arc::clone(group), from: *from };
                    self.put(Kind::Truncated, group.number(), *from, &[], Some(effect))?;
                }
                Command::Committed { group, committed } => {
                    self.put(Kind::Committed, group.number(), 0, committed, None)?;
                }
                Command::Purge { group, upto } => {
                    let purge = self.purges.entry(group.number()).or_insert_with(|| (Arc::clone(group), *upto));
                    purge.1 = purge.1.max(*upto);
                    // Before what is appended behind a snapshot.
                    self.purge()?;
                }
                Command::Stop | Command::Abandon => {}
            }
        }
        let commit = Stopwatch::start();
        self.write_frame()?;
        self.journal.sync()?;
        self.stats.commit_latency.record(commit.elapsed());
        self.settle();
        self.stats.rounds.add(1);
        self.stats.appends.add(appends);
        self.stats.entries.add(entry_count);
        self.stats.entry_bytes.add(entry_bytes);
        self.stats.round_latency.record(watch.elapsed());
        Ok(())
    }

    /// Puts an item into the frame. `effect` is what will be true.
    fn put(&mut self, kind: Kind, group: u32, index: u64, payload: &[u8], effect: Option<Effect>) -> io::Result<()> {
        if self.frame.is_full(self.journal.frame_bytes()) {
            self.write_frame()?;
        }
        self.frame.push(kind, group, index, payload);
        self.effects.extend(effect);
        Ok(())
    }

    /// Writes the frame, and begins another one.
    fn write_frame(&mut self) -> io::Result<()> {
        if self.frame.is_empty() {
            return Ok(());
        }
        let frame_at = self.journal.append(&mut self.frame, &self.roots)?;
        let mut unplaced = self.effects.iter_mut().filter_map(|effect| match effect {
            Effect::Written { place: place @ None, .. } | Effect::Carried { place: place @ None, .. } => Some(place),
            _ => None,
        });
        for item in self.frame.items() {
            if item.kind == Kind::Entry {
                let place = item.place(frame_at);
                self.journal.hold(&place);
                // There is one for each entry of the frame, in their order.
                if let Some(unplaced) = unplaced.next() {
                    *unplaced = Some(place);
                }
            }
            let roots = self.roots.entry(item.group).or_default();
            roots.apply(item.kind, item.index, self.frame.payload(item))?;
        }
        self.frame.clear();
        Ok(())
    }

    /// Purges what the checkpoints cover.
    ///
    /// **Invariant:** the log is never purged past the durable checkpoint.
    fn purge(&mut self) -> io::Result<()> {
        let is_covered = |(_, (group, upto)): &(&u32, &(Arc<GroupLog>, LogId))| group.is_checkpointed(upto.index);
        let ready: Vec<u32> = self.purges.iter().filter(is_covered).map(|(number, _)| *number).collect();
        for number in ready {
            let Some((group, upto)) = self.purges.remove(&number) else { continue };
            let purged = codec::encode(&Some(upto), 0)?;
            self.put(Kind::Purged, number, 0, &purged, Some(Effect::Purged { group, upto: upto.index }))?;
        }
        Ok(())
    }

    /// Carries what is of use in a slot with little of it into the current one, so that the slot can be written over.
    fn carry(&mut self) -> io::Result<()> {
        let Some(slot) = self.journal.sparse() else { return Ok(()) };
        let (groups, file) = (self.groups.clone(), self.journal.reader());
        for (number, group) in groups {
            for (index, from) in group.places_where(|place| self.journal.slot_of(place) == slot) {
                let record = from.read(&*file)?;
                let effect = Effect::Carried { group: Arc::clone(&group), index, from, place: None };
                self.put(Kind::Entry, number, index, &record, Some(effect))?;
            }
        }
        self.write_frame()?;
        self.journal.sync()?;
        self.settle();
        Ok(())
    }

    /// The round is durable: what it said is true.
    fn settle(&mut self) {
        let mut freed_bytes = 0;
        for effect in self.effects.drain(..) {
            let (released, was_counted) = match effect {
                Effect::Written { group, index, place: Some(place) } => (group.written(index, place), true),
                Effect::Carried { group, index, from, place: Some(to) } => {
                    (vec![group.carried(index, from, to)], false)
                }
                Effect::Truncated { group, from } => (group.truncated(from), true),
                Effect::Purged { group, upto } => (group.purged(upto), true),
                Effect::Written { .. } | Effect::Carried { .. } => continue,
            };
            for place in &released {
                self.journal.release(place);
                freed_bytes += if was_counted { u64::from(place.bytes) } else { 0 };
            }
        }
        self.budgets.sub_log(freed_bytes);
    }
}
