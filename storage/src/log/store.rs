//! What openraft sees of a group's log.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;

use futures_util::{Stream, stream};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend};
use tokio::sync::oneshot;

use super::ahead::ReadAhead;
use super::command::{Command, Reply};
use super::group::GroupLog;
use crate::budgets::Budgets;
use crate::codec;
use crate::consensus::{Entry, LogId, TypeConfig, Vote};
use crate::failure::FailureFlag;
use crate::limits::LOG_READ_BYTES_MAX;

/// The log of one group. Handed to openraft; one at a time per group.
#[derive(Clone)]
pub struct LogStore {
    group: Arc<GroupLog>,
    sender: Sender<Command>,
    budgets: Arc<Budgets>,
    failure: FailureFlag,
    /// Votes and truncations that are waited for.
    waited_for: Arc<AtomicUsize>,
}

/// Reads the log of one group.
pub struct LogReader {
    group: Arc<GroupLog>,
    ahead: ReadAhead,
}

impl Debug for LogStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogStore").field("cell", &self.group.cell).finish_non_exhaustive()
    }
}

impl Debug for LogReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogReader").field("cell", &self.group.cell).finish_non_exhaustive()
    }
}

fn closed<T>(_: T) -> io::Error {
    io::Error::other("the storage is shut down")
}

/// Encoded size of an entry, roughly, so that its buffer is reserved once.
fn size_hint(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(data) => data.size_bytes() as usize,
        EntryPayload::Blank | EntryPayload::Membership(_) => 256,
    }
}

impl LogStore {
    pub(crate) fn new(
        group: Arc<GroupLog>,
        sender: Sender<Command>,
        budgets: Arc<Budgets>,
        failure: FailureFlag,
    ) -> Self {
        Self { group, sender, budgets, failure, waited_for: Arc::default() }
    }

    /// Is a vote or a truncation waited for? Whoever asked for it, openraft's core, hears of nothing else meanwhile. The same of all clones.
    pub fn is_waited_for(&self) -> bool {
        self.waited_for.load(Ordering::Relaxed) > 0
    }

    /// Sends a command that somebody waits for, made under the view's lock, and waits.
    async fn durably(&self, make: impl FnOnce(&mut super::group::View, Reply) -> Command) -> io::Result<()> {
        self.failure.check()?;
        let (reply, done) = oneshot::channel();
        self.group.with_view(|view| self.sender.send(make(view, reply)).map_err(closed))?;
        let _waited_for = WaitedFor::enter(&self.waited_for);
        done.await.map_err(closed)?
    }
}

/// One who waits.
struct WaitedFor<'a>(&'a AtomicUsize);

impl<'a> WaitedFor<'a> {
    fn enter(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for WaitedFor<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.ahead.read(&self.group, half_open(&range)).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.group.with_view(|view| view.vote))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.group.read(start..end, LOG_READ_BYTES_MAX)
    }

    /// Bounded in bytes, unlike the default, which would gather the whole range: at a restart that is
    /// everything since the last checkpoint.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = half_open(&range);
        let state = (Arc::clone(&self.group), range, VecDeque::new());
        let entries = stream::unfold(state, |(group, mut range, mut read)| async move {
            if read.is_empty() && !range.is_empty() {
                match group.read(range.clone(), LOG_READ_BYTES_MAX) {
                    Ok(more) => read.extend(more),
                    Err(error) => return Some((Err(error), (group, 0..0, read))),
                }
            }
            let entry: Entry = read.pop_front()?;
            range.start = entry.log_id.index + 1;
            Some((Ok(entry), (group, range, read)))
        });
        Box::pin(entries)
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> std::ops::Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(self.group.with_view(|view| LogState { last_purged_log_id: view.purged, last_log_id: view.last }))
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { group: Arc::clone(&self.group), ahead: ReadAhead::default() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let encoded = codec::encode(vote, 0)?;
        self.durably(|view, reply| {
            view.vote = Some(*vote);
            Command::Vote { group: Arc::clone(&self.group), vote: encoded, reply }
        })
        .await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        let encoded = codec::encode(&committed, 0)?;
        self.group.with_view(|view| {
            view.committed = committed;
            let command = Command::Committed { group: Arc::clone(&self.group), committed: encoded };
            self.sender.send(command).map_err(closed)
        })
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.group.with_view(|view| view.committed))
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.failure.check()?;
        // Encoded here, once and outside every lock, so that groups do it in parallel.
        let mut bytes = 0;
        let mut encoded = Vec::new();
        let mut fresh = Vec::new();
        for entry in entries {
            let record = self.group.record(&entry, size_hint(&entry))?;
            bytes += record.len() as u64;
            fresh.push((entry.clone(), record.len() as u64));
            encoded.push((entry.log_id.index, record));
        }
        self.budgets.add_log(bytes);
        self.group.with_view(|view| {
            let seq = view.next_seq();
            for (entry, bytes) in fresh {
                view.push(entry, bytes, seq);
            }
            view.shrink_tail(self.group.flushed_seq());
            let command = Command::Append { group: Arc::clone(&self.group), entries: encoded, bytes, seq, flushed };
            self.sender.send(command).map_err(closed)
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        self.durably(|view, reply| {
            view.truncate_after(last);
            let from = last.map_or(0, |id| id.index + 1);
            Command::Truncate { group: Arc::clone(&self.group), from, reply }
        })
        .await
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        self.group.with_view(|view| {
            view.purge(upto);
            self.sender.send(Command::Purge { group: Arc::clone(&self.group), upto }).map_err(closed)
        })
    }
}
