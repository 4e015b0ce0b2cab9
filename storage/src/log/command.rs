//! What goes through the FIFO to the log thread.

use std::io;
use std::sync::Arc;

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::group::GroupLog;
use crate::consensus::{LogId, TypeConfig};

/// Told when a vote or truncation is durable.
pub(crate) type Reply = oneshot::Sender<Result<(), io::Error>>;

pub(crate) enum Command {
    /// Entries, encoded, with their indices. `seq` is the group's number for this append.
    Append { group: Arc<GroupLog>, entries: Vec<(u64, Vec<u8>)>, bytes: u64, seq: u64, flushed: IOFlushed<TypeConfig> },
    /// The group's vote, encoded.
    Vote { group: Arc<GroupLog>, vote: Vec<u8>, reply: Reply },
    /// Removes all entries from this index on.
    Truncate { group: Arc<GroupLog>, from: u64, reply: Reply },
    /// The group's committed id, encoded.
    Committed { group: Arc<GroupLog>, committed: Vec<u8> },
    /// Removes all entries up to the id.
    Purge { group: Arc<GroupLog>, upto: LogId },
    /// Write all that came before, and end.
    Stop,
    /// End at once, as a crash would.
    Abandon,
}

impl Command {
    /// Whether somebody waits for this to be durable.
    pub(super) fn forces_round(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Vote { .. } | Self::Truncate { .. })
    }

    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Append { bytes, .. } => *bytes,
            _ => 0,
        }
    }

    /// Tells whoever waits.
    pub(super) fn complete(self, result: Result<(), io::Error>) {
        match self {
            Self::Append { group, seq, flushed, .. } => {
                if result.is_ok() {
                    group.flushed(seq);
                }
                flushed.io_completed(result);
            }
            // A receiver that is gone gave up waiting; the write stands.
            Self::Vote { reply, .. } | Self::Truncate { reply, .. } => drop(reply.send(result)),
            Self::Committed { .. } | Self::Purge { .. } | Self::Stop | Self::Abandon => {}
        }
    }
}
