//! What the script saw of one group before the power went, and whether the files agree.

use std::collections::BTreeMap;

use bytes::Bytes;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use twin_core::numbers::CellId;
use twin_storage::consensus::openraft;
use twin_storage::consensus::{Entry, LogId, Vote};
use twin_storage::{Family, Group, Storage};

use crate::world::apply;

/// Rows by family and key.
pub(crate) type Rows = BTreeMap<(Family, Bytes), Bytes>;

/// A state of the group: after which entry, its rows, and whether the group certainly got there.
struct State {
    applied: Option<LogId>,
    rows: Rows,
    sure: bool,
}

/// What was tried, and what of it was acked.
pub(crate) struct Witness {
    pub(crate) cell: CellId,
    votes: Vec<Option<Vote>>,
    vote_acked: usize,
    /// Every version of the log, in order, as of after each change.
    logs: Vec<Vec<Entry>>,
    log_acked: usize,
    purge_tried: Option<LogId>,
    states: Vec<State>,
    /// The newest state that a checkpoint is known to hold.
    checkpointed: usize,
    committed: Vec<Option<LogId>>,
}

impl Witness {
    pub(crate) fn new(cell: CellId) -> Self {
        Self {
            cell,
            votes: vec![None],
            vote_acked: 0,
            logs: vec![Vec::new()],
            log_acked: 0,
            purge_tried: None,
            states: vec![State { applied: None, rows: Rows::new(), sure: true }],
            checkpointed: 0,
            committed: vec![None],
        }
    }

    pub(crate) fn try_vote(&mut self, vote: Vote) {
        self.votes.push(Some(vote));
    }

    pub(crate) fn vote_acked(&mut self) {
        self.vote_acked = self.votes.len() - 1;
    }

    /// The log is about to be changed.
    pub(crate) fn try_log(&mut self, change: impl FnOnce(&mut Vec<Entry>)) {
        let mut log = self.logs.last().cloned().unwrap_or_default();
        change(&mut log);
        self.logs.push(log);
    }

    pub(crate) fn log_acked(&mut self) {
        self.log_acked = self.logs.len() - 1;
    }

    pub(crate) fn try_purge(&mut self, upto: LogId) {
        self.purge_tried = self.purge_tried.max(Some(upto));
    }

    pub(crate) fn try_committed(&mut self, committed: LogId) {
        self.committed.push(Some(committed));
    }

    /// Another state: of an entry that was applied (its append was acked), or of a snapshot that is about to be installed.
    pub(crate) fn state(&mut self, applied: LogId, sure: bool, change: impl FnOnce(&mut Rows)) {
        let mut rows = self.states.last().map(|state| state.rows.clone()).unwrap_or_default();
        change(&mut rows);
        self.states.push(State { applied: Some(applied), rows, sure });
    }

    /// The newest state is in a durable checkpoint.
    pub(crate) fn checkpointed(&mut self) {
        self.checkpointed = self.states.len() - 1;
        self.states[self.checkpointed].sure = true;
    }

    /// **Acked means kept**, in the words of the storage: the vote is the acked one or a later one that was tried; the log is one
    /// of the versions from the acked one on, but for what was purged; the checkpoint is a whole state from the acked one on; and
    /// checkpoint and log together bring the group to every state it was in. So nothing of it went back.
    pub(crate) async fn verify(&self, storage: &Storage, when: &str) {
        let cell = self.cell;
        let Group { mut log, mut state_machine, .. } = storage.group(cell);
        let vote = log.get_log_reader().await.read_vote().await.expect("readable");
        assert!(self.votes[self.vote_acked..].contains(&vote), "{when}: group {cell} has vote {vote:?}");
        let committed = log.read_committed().await.expect("readable");
        assert!(self.committed.contains(&committed), "{when}: group {cell} has committed {committed:?}");

        let found = log.get_log_state().await.expect("readable");
        let purged = found.last_purged_log_id;
        assert!(purged <= self.purge_tried, "{when}: group {cell} purged up to {purged:?}");
        let entries = log.get_log_reader().await.try_get_log_entries(0..).await.expect("gapless");
        let is_version = |version: &Vec<Entry>| {
            let kept = version.iter().filter(|entry| purged.is_none_or(|purged| entry.log_id.index > purged.index));
            kept.eq(entries.iter())
        };
        assert!(
            self.logs[self.log_acked..].iter().any(is_version),
            "{when}: group {cell} has a log that it never had, of {:?} behind {purged:?}",
            entries.iter().map(|entry| entry.log_id).collect::<Vec<_>>()
        );

        let mut applied = state_machine.applied_state().await.expect("readable").0;
        let mut at = self.place_of(applied);
        assert!(at >= Some(self.checkpointed), "{when}: group {cell}'s checkpoint went back to {applied:?}");
        assert!(purged <= applied, "{when}: group {cell} purged {purged:?} past the checkpoint {applied:?}");
        self.compare(storage, at, when);
        for entry in entries {
            let known = self.place_of(Some(entry.log_id));
            if applied >= Some(entry.log_id) || known.is_none() {
                continue;
            }
            applied = Some(entry.log_id);
            at = known;
            apply(&mut state_machine, vec![entry]).await;
            self.compare(storage, at, when);
        }
        let reached = self.states.iter().rposition(|state| state.sure);
        assert!(at >= reached, "{when}: group {cell} comes back to {applied:?} only");
    }

    fn place_of(&self, applied: Option<LogId>) -> Option<usize> {
        self.states.iter().rposition(|state| state.applied == applied)
    }

    fn compare(&self, storage: &Storage, at: Option<usize>, when: &str) {
        let cell = self.cell;
        let Some(at) = at else { panic!("{when}: group {cell} is in a state that it never was in") };
        let mut found = Rows::new();
        for family in [Family::TwinHot, Family::Home] {
            let scan = storage.reader().scan(cell, family, b"", None, 4096).expect("readable");
            assert!(!scan.more, "the script has few rows");
            found.extend(scan.rows.into_iter().map(|(key, value)| ((family, key), value)));
        }
        assert_eq!(found, self.states[at].rows, "{when}: group {cell} at {:?}", self.states[at].applied);
    }
}
