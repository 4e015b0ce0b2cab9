//! A node's storage: opening it, its groups, ending it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::sync::{oneshot, watch};
use twin_core::numbers::CellId;

use crate::budgets::Budgets;
use crate::consensus::LogId;
use crate::disk::Disk;
use crate::failure::{DataFile, FailureFlag, StorageFailure};
use crate::guard::{OpenDatabase, guarded};
use crate::limits::LOG_CACHE_BYTES;
use crate::log::{self, GroupLog, Journal, LogStore, LogThread, SharedFile, StoredGroup};
use crate::open::{Opening, claim, node_of, open_file};
use crate::open_error::{Lost, OpenError};
use crate::options::Options;
use crate::seal::Seal;
use crate::space::Space;
use crate::state::{
    self, BackupSource, Base, Checkpointer, Covered, GroupState, StateMachine, StateReader, StateShared,
};
use crate::stats::StorageStats;
use crate::stopwatch::Stopwatch;

/// What openraft needs to run a replica of one group, and what to watch while it runs.
#[derive(Debug)]
pub struct Group {
    /// The group's log.
    pub log: LogStore,
    /// The group's state.
    pub state_machine: StateMachine,
    /// The last entry that a durable checkpoint covers. The log may be purged up to it, by a snapshot
    /// (which is that checkpoint, and costs nothing to "build") and a purge.
    pub durable: watch::Receiver<Option<LogId>>,
}

/// A group's log and state in memory.
type Parts = (Arc<GroupLog>, Arc<GroupState>);

/// The files of a node and their threads.
///
/// Dropping it ends both threads as a crash would: nothing acked is lost, the next start re-applies a bit.
pub struct Storage {
    state: Arc<StateShared>,
    groups: Mutex<BTreeMap<CellId, Parts>>,
    log_sender: Sender<log::Command>,
    budgets: Arc<Budgets>,
    space: Arc<Space>,
    stats: Arc<StorageStats>,
    failure: FailureFlag,
    log_file: SharedFile,
    log_seal: Option<Arc<Seal>>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("groups", &self.groups()).finish_non_exhaustive()
    }
}

/// How the files were opened: what a start after a kill takes its time for, besides applying the log again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Openings {
    /// How long `log.redb` and the journal took together.
    pub log_took: Duration,
    /// `state.redb`.
    pub state: Opening,
    /// Bytes of entries that the log held.
    pub log_bytes: u64,
    /// Bytes of a write at the end of the log that was not finished, and is dropped.
    pub log_unfinished_bytes: u64,
}

/// The files of a node, opened and found to belong together. This process has their locks; nothing runs yet.
pub struct OpenedFiles {
    options: Options,
    stats: Arc<StorageStats>,
    space: Arc<Space>,
    log_file: OpenDatabase,
    journal: Journal,
    log_seal: Option<Arc<Seal>>,
    state_file: OpenDatabase,
    state_seal: Option<Arc<Seal>>,
    stored: BTreeMap<u32, StoredGroup>,
    covered: BTreeMap<u32, Covered>,
    openings: Openings,
    node: Option<String>,
}

impl fmt::Debug for OpenedFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedFiles").field("node", &self.node).finish_non_exhaustive()
    }
}

fn damaged(disk: &dyn Disk, file: DataFile) -> impl Fn(redb::Error) -> OpenError {
    let path = disk.path(file);
    move |error| OpenError::of_redb(path.clone(), error)
}

impl OpenedFiles {
    /// Opens or makes the files. Blocks for as long as the disk takes.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let (disk, left) = (Arc::clone(&options.disk), options.first_start_bytes_left());
        let needed_bytes = left.unwrap_or(options.disk_reserve_bytes);
        let free_bytes = || disk.free_bytes().ok().flatten();
        Self::open_all(options).map_err(|error| error.or_no_room(free_bytes, needed_bytes, left.is_some()))
    }

    fn open_all(options: Options) -> Result<Self, OpenError> {
        check_log_is_there(&*options.disk)?;
        let disk = &*options.disk;
        let stats = Arc::new(StorageStats::default());
        let space = Arc::new(Space::new(Arc::clone(&options.disk), Arc::clone(&stats), options.disk_reserve_bytes));
        let seal = options.seal.as_ref();
        let watch = Stopwatch::start();
        let (log_file, _) = open_file(disk, &space, DataFile::Log, LOG_CACHE_BYTES, seal, log::make_tables)?;
        let log::OpenedLog { journal, groups: mut stored, unfinished_bytes } =
            log::open_journal(&log_file, disk, &space, options.log_slot_bytes)?;
        let log_took = watch.elapsed();
        let (state_file, state) =
            open_file(disk, &space, DataFile::State, options.state_cache_bytes, seal, state::make_tables)?;
        let log_node = node_of(&log_file).map_err(damaged(disk, DataFile::Log))?;
        let state_node = node_of(&state_file).map_err(damaged(disk, DataFile::State))?;
        let journal_node = journal.node().map(ToOwned::to_owned);
        // Looked at first: what does not belong together need not even fit together.
        let claims = [(DataFile::Log, log_node), (DataFile::Journal, journal_node), (DataFile::State, state_node)];
        let mut claims = claims.into_iter().filter_map(|(file, node)| Some((file, node?)));
        let first = claims.next();
        if let Some((file, node)) = &first
            && let Some((other, other_node)) = claims.find(|(_, other)| other != node)
        {
            let (path, other) = (disk.path(*file), disk.path(other));
            return Err(OpenError::Strangers { path, node: node.clone(), other, other_node });
        }
        drop(claims);
        let log_seal = Seal::open(&log_file, disk, DataFile::Log, seal)?;
        let state_seal = Seal::open(&state_file, disk, DataFile::State, seal)?;
        log::read_last(&journal, disk, log_seal.as_deref(), &mut stored)?;
        let covered = guarded(|| state::load(&state_file)).map_err(damaged(disk, DataFile::State))?;
        check_match(disk, &stored, &covered)?;
        let (found, durable) = (
            journal.last_frame(),
            guarded(|| state::journal_durable(&state_file)).map_err(damaged(disk, DataFile::State))?,
        );
        if found < durable {
            let (path, state) = (disk.path(DataFile::Journal), disk.path(DataFile::State));
            return Err(OpenError::LogBehind { path, state, found, durable });
        }
        let node = first.map(|(_, node)| node);
        let log_bytes = stored.values().map(StoredGroup::bytes).sum();
        let openings = Openings { log_took, state, log_bytes, log_unfinished_bytes: unfinished_bytes };
        Ok(Self {
            options,
            stats,
            space,
            log_file,
            journal,
            log_seal,
            state_file,
            state_seal,
            stored,
            covered,
            openings,
            node,
        })
    }

    /// How they were opened.
    pub fn openings(&self) -> Openings {
        self.openings
    }

    /// The node that has claimed the files; `None`: they are new, or of an earlier release.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Has a group ever run on them, here or where a backup was taken that they were restored from?
    pub fn have_groups(&self) -> bool {
        !self.stored.is_empty()
    }

    /// Writes into all files that they are of this node, unless they say so already. A crash in between leaves one that says so and one
    /// that says nothing, and the next claim goes on.
    pub fn claim(&mut self, node: &str) -> Result<(), OpenError> {
        let disk = &*self.options.disk;
        for (file, database) in [(DataFile::State, &self.state_file), (DataFile::Log, &self.log_file)] {
            match node_of(database).map_err(damaged(disk, file))? {
                Some(found) if found != node => {
                    return Err(OpenError::OtherNode { path: disk.path(file), found, expected: node.to_owned() });
                }
                Some(_) => {}
                None => claim(database, node).map_err(|cause| OpenError::of_redb(disk.path(file), cause))?,
            }
        }
        let path = || disk.path(DataFile::Journal);
        match self.journal.node() {
            Some(found) if found != node => {
                return Err(OpenError::OtherNode { path: path(), found: found.to_owned(), expected: node.to_owned() });
            }
            Some(_) => {}
            None => self.journal.claim(node).map_err(|cause| OpenError::Io { path: path(), cause })?,
        }
        self.node = Some(node.to_owned());
        Ok(())
    }

    /// Starts the threads.
    pub fn start(self) -> Result<Storage, OpenError> {
        let Self { options, stats, space, log_file, journal, log_seal, state_file, state_seal, .. } = self;
        let (stored, mut covered) = (self.stored, self.covered);
        let disk = &*options.disk;
        let failure = FailureFlag::new();
        let base = guarded(|| Base::open(&state_file, state_seal.clone(), failure.clone()));
        let base = base.map_err(damaged(disk, DataFile::State))?;

        // Now the directory is there.
        space.look();
        space.be_patient();
        let budgets = Arc::new(Budgets::new(options.dirty_bytes_max, options.log_bytes_max, Arc::clone(&space)));
        budgets.add_log(stored.values().map(StoredGroup::bytes).sum());
        let (state_sender, state_receiver) = channel();
        let (log_sender, log_receiver) = channel();
        let file: SharedFile = Arc::new(RwLock::new(Some(journal.reader())));
        let state = Arc::new(StateShared {
            groups: RwLock::new(BTreeMap::new()),
            backup: Mutex::new(None),
            base: RwLock::new(Arc::new(base)),
            budgets: Arc::clone(&budgets),
            stats: Arc::clone(&stats),
            space: Arc::clone(&space),
            journal_durable: journal.durable(),
            failure: failure.clone(),
            sender: Mutex::new(state_sender),
            asked_early: AtomicBool::new(false),
        });
        let mut storage = Storage {
            state: Arc::clone(&state),
            groups: Mutex::new(BTreeMap::new()),
            log_sender,
            budgets: Arc::clone(&budgets),
            space,
            stats: Arc::clone(&stats),
            failure: failure.clone(),
            log_file: Arc::clone(&file),
            log_seal,
            threads: Vec::new(),
        };
        let mut logs = BTreeMap::new();
        for (number, stored) in &stored {
            let cell = CellId::new(*number);
            let (log, group) = storage.make_group(cell, stored, covered.remove(number).unwrap_or_default());
            logs.insert(*number, Arc::clone(&log));
            storage.groups.lock().insert(cell, (log, group));
        }
        let log_thread = LogThread::new(journal, file, log_file, &stored, logs, (budgets, failure, stats));
        let thread = |file: DataFile| move |cause| OpenError::Thread { file, cause };
        storage.threads.push(log::spawn(log_thread, log_receiver).map_err(thread(DataFile::Journal))?);
        let interval = options.checkpoint_interval;
        let checkpointer = Checkpointer { database: state_file, seal: state_seal, shared: state, interval };
        storage.threads.push(state::spawn(checkpointer, state_receiver).map_err(thread(DataFile::State))?);
        Ok(storage)
    }
}

impl Storage {
    /// Opens or makes a node's storage, whoever's it is. Blocks for as long as the disk takes.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        OpenedFiles::open(options)?.start()
    }

    fn make_group(&self, cell: CellId, stored: &StoredGroup, covered: Covered) -> Parts {
        let checkpointed = Arc::new(AtomicU64::new(0));
        let state = Arc::new(GroupState::new(cell, covered, Arc::clone(&checkpointed)));
        self.state.groups.write().insert(cell, Arc::clone(&state));
        let (file, seal) = (Arc::clone(&self.log_file), self.log_seal.clone());
        (Arc::new(GroupLog::new(cell, stored, checkpointed, file, seal, Arc::clone(&self.stats))), state)
    }

    /// The groups that this node has files of, or was asked for.
    pub fn groups(&self) -> Vec<CellId> {
        self.groups.lock().keys().copied().collect()
    }

    /// A group's log and state, made if the node has none of it yet.
    ///
    /// Run one replica of a group at a time: after a replica was shut down, another may be started on a
    /// second call, and goes on where the first one was.
    pub fn group(&self, cell: CellId) -> Group {
        let (log, state) = {
            let mut groups = self.groups.lock();
            let made = groups
                .entry(cell)
                .or_insert_with(|| self.make_group(cell, &StoredGroup::default(), Covered::default()));
            made.clone()
        };
        Group {
            log: LogStore::new(log, self.log_sender.clone(), Arc::clone(&self.budgets), self.failure.clone()),
            durable: state.durable(),
            state_machine: StateMachine::new(state, Arc::clone(&self.state)),
        }
    }

    /// Reads rows of any group.
    pub fn reader(&self) -> StateReader {
        StateReader::new(Arc::clone(&self.state))
    }

    /// Begins backups.
    pub fn backups(&self) -> BackupSource {
        BackupSource::new(Arc::clone(&self.state))
    }

    /// What the storage owes the disk, for admission.
    pub fn budgets(&self) -> Arc<Budgets> {
        Arc::clone(&self.budgets)
    }

    /// What the storage did, for metrics.
    pub fn stats(&self) -> Arc<StorageStats> {
        Arc::clone(&self.stats)
    }

    /// Turns to `Some` when the storage failed for good: stop the node.
    pub fn failure(&self) -> watch::Receiver<Option<StorageFailure>> {
        self.failure.watch()
    }

    /// Makes a checkpoint now and waits for it.
    pub async fn checkpoint(&self) -> Result<(), StorageFailure> {
        let (reply, done) = oneshot::channel();
        let gone = || {
            let (file, cause) = (DataFile::State, "the storage is shut down".to_owned());
            StorageFailure { file, cause, damaged: false, no_room: false }
        };
        self.state.send(state::Command::Now { reply }).map_err(|_| gone())?;
        done.await.map_err(|_| gone())?
    }

    /// From here on a write that finds no room on the disk fails rather than waits, and those that wait do. For whoever is about to shut
    /// down: replicas that wait for a vote or an entry would not end.
    pub fn give_up_waiting(&self) {
        self.space.give_up();
    }

    /// Writes a last checkpoint and all that the log still owes, ends both threads and closes the files.
    /// Blocks. Shut the groups' replicas down first. On a full disk it fails rather than waits: what was acked is in the log.
    pub fn shutdown(mut self) -> Result<(), StorageFailure> {
        self.space.give_up();
        let (reply, _done) = oneshot::channel();
        // The checkpoint first: the log thread's last round then purges what it covers. A thread that is
        // gone has failed, and the failure says so.
        let _ = self.state.send(state::Command::Stop { reply });
        if let Some(checkpointer) = self.threads.pop() {
            let _ = checkpointer.join();
        }
        let _ = self.log_sender.send(log::Command::Stop);
        self.join();
        self.failure.check()
    }

    fn join(&mut self) {
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.space.give_up();
        let _ = self.state.send(state::Command::Abandon);
        let _ = self.log_sender.send(log::Command::Abandon);
        self.join();
    }
}

/// Refuses a journal without the file beside it, before that is made anew: what is refused stays as it is.
fn check_log_is_there(disk: &dyn Disk) -> Result<(), OpenError> {
    let bytes = |path: &Path| std::fs::metadata(path).map(|file| file.len());
    let (lost, left) = (disk.path(DataFile::Log), disk.path(DataFile::Journal));
    let how = match std::fs::metadata(&lost) {
        Ok(found) if found.is_file() && found.len() == 0 => Lost::Empty,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Lost::Gone,
        _ => return Ok(()),
    };
    // A disk that is none of the system's has neither.
    if bytes(&left).is_ok_and(|bytes| bytes > 0) { Err(OpenError::Lost { lost, how, left }) } else { Ok(()) }
}

/// Refuses a log and a state that cannot have been beside each other: one of them was lost or rolled back.
fn check_match(
    disk: &dyn Disk,
    stored: &BTreeMap<u32, StoredGroup>,
    covered: &BTreeMap<u32, Covered>,
) -> Result<(), OpenError> {
    for (number, log) in stored {
        let checkpoint = covered.get(number).and_then(|covered| covered.applied).map(|id| id.index);
        let Some(purged) = log.purged().map(|id| id.index) else { continue };
        if checkpoint.is_none_or(|checkpoint| checkpoint < purged) {
            let (path, group) = (disk.path(DataFile::State), CellId::new(*number));
            return Err(OpenError::StateBehind { path, group, purged, checkpoint });
        }
    }
    // A replica without its vote could vote twice in a term, or lead a term that is long over.
    let lost = covered.iter().find(|(number, covered)| covered.applied.is_some() && !stored.contains_key(number));
    match lost {
        Some((number, _)) => Err(OpenError::LogLost { path: disk.path(DataFile::Log), group: CellId::new(*number) }),
        None => Ok(()),
    }
}
