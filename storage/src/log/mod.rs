//! The log: all groups' entries, votes and committed ids, written by one thread in rounds.
//!
//! Every write of every group goes through one FIFO to the thread, because their order is safety: a vote
//! before the entries of its term, a truncation before what replaces the truncated. A round takes all that
//! has gathered, appends it to the [`journal`] and syncs that once (one group commit for all cells of the node). Only
//! appends, votes and truncations force a round; committed ids and purges ride along.

mod ahead;
mod command;
mod group;
mod journal;
mod open;
mod record;
mod rounds;
mod store;
mod tables;

pub use store::{LogReader, LogStore};

pub(crate) use command::Command;
pub(crate) use group::{GroupLog, SharedFile};
pub(crate) use journal::Journal;
pub use open::recovered_entries;
pub(crate) use open::{OpenedLog, StoredGroup, open_journal, read_last};
pub(crate) use rounds::{LogThread, spawn};
pub(crate) use tables::{begin_behind, make_tables};
