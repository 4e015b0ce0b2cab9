//! The receiving side's tables.

use std::sync::Arc;

use twin_core::alarm::Alarm;
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::msgpack::Malformed;
use twin_core::numbers::{Seq, Stay};
use twin_core::path::Path;
use twin_core::report::{PackedReport, ReportError};

use super::size::{path_weight_bytes, twin_weight_bytes};
use crate::frames::batch::WireBody;
use crate::frames::incoming::{IncomingBatch, IncomingBody, IncomingMessage};
use crate::limits::{INTERNED_BYTES_MAX, INTERNED_PATHS_MAX, INTERNED_TWINS_MAX};

/// What is wrong with a batch's use of the tables. The peer breaks the protocol: the stream is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InternError {
    /// Too many twin ids.
    #[error("a stream's table has at most {INTERNED_TWINS_MAX} twin ids, this batch makes it {0}; reset first")]
    TooManyTwins(usize),
    /// Too many paths.
    #[error("a stream's table has at most {INTERNED_PATHS_MAX} paths, this batch makes it {0}; reset first")]
    TooManyPaths(usize),
    /// Too many bytes.
    #[error("a stream's tables have at most {INTERNED_BYTES_MAX} bytes, this batch makes it {0}; reset first")]
    TooManyBytes(usize),
    /// An index that no id was added under.
    #[error("there is no twin id {index}, the table has {known}")]
    UnknownTwin {
        /// The index.
        index: u32,
        /// Entries in the table.
        known: usize,
    },
    /// An index that no path was added under.
    #[error("there is no path {index}, the table has {known}")]
    UnknownPath {
        /// The index.
        index: u32,
        /// Entries in the table.
        known: usize,
    },
    /// A report that is none.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// Numbers begin at 1 and fit 64 bits.
    #[error("a message covers {first} and {more} more: numbers begin at 1 and end at 2^64 - 1")]
    BadRange {
        /// First number.
        first: Seq,
        /// How many more.
        more: u64,
    },
}

/// Body of a message that was received.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// A report, checked.
    Report(PackedReport),
    /// Any other of the twin-state class, or that alarms are lost.
    Other(StateBody),
    /// An alarm.
    Alarm(Box<Alarm>),
}

impl From<StateBody> for Received {
    fn from(body: StateBody) -> Self {
        Self::Other(body)
    }
}

/// A state message with its ids and paths resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedState {
    /// The twin.
    pub twin: TwinId,
    /// The stay that stamped it.
    pub stay: Stay,
    /// First number covered.
    pub first: Seq,
    /// Last number covered.
    pub last: Seq,
    /// What.
    pub body: Received,
}

/// The tables of one stream.
#[derive(Debug, Default)]
pub struct InternReceiver {
    twins: Vec<TwinId>,
    /// Shared with the reports that refer to it.
    paths: Arc<[Path]>,
    weight_bytes: usize,
}

impl InternReceiver {
    /// Empty tables, for a new stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a batch's additions. On an error nothing was added.
    pub fn add(&mut self, reset: bool, twins: Vec<TwinId>, paths: Vec<Path>) -> Result<(), InternError> {
        if reset {
            *self = Self::default();
        }
        if twins.is_empty() && paths.is_empty() {
            return Ok(());
        }
        let twin_count = self.twins.len() + twins.len();
        if twin_count > INTERNED_TWINS_MAX {
            return Err(InternError::TooManyTwins(twin_count));
        }
        let path_count = self.paths.len() + paths.len();
        if path_count > INTERNED_PATHS_MAX {
            return Err(InternError::TooManyPaths(path_count));
        }
        let weight_bytes = self.weight_bytes
            + twins.iter().map(twin_weight_bytes).sum::<usize>()
            + paths.iter().map(path_weight_bytes).sum::<usize>();
        if weight_bytes > INTERNED_BYTES_MAX {
            return Err(InternError::TooManyBytes(weight_bytes));
        }
        self.twins.extend(twins);
        if !paths.is_empty() {
            self.paths = self.paths.iter().cloned().chain(paths).collect();
        }
        self.weight_bytes = weight_bytes;
        Ok(())
    }

    /// The id under an index.
    pub fn twin(&self, index: u32) -> Result<&TwinId, InternError> {
        self.twins.get(index as usize).ok_or(InternError::UnknownTwin { index, known: self.twins.len() })
    }

    /// The path under an index.
    pub fn path(&self, index: u32) -> Result<&Path, InternError> {
        self.paths.get(index as usize).ok_or(InternError::UnknownPath { index, known: self.paths.len() })
    }

    /// Takes a batch's additions and resolves its messages.
    pub fn receive(&mut self, batch: IncomingBatch) -> Result<Vec<ReceivedState>, InternError> {
        self.add(batch.reset, batch.twins, batch.paths)?;
        batch.messages.into_iter().map(|message| self.state(message)).collect()
    }

    fn state(&self, message: IncomingMessage) -> Result<ReceivedState, InternError> {
        let IncomingMessage { twin, stay, first, more, body } = message;
        let last = first.get().checked_add(more).filter(|_| first.get() > 0);
        let last = last.map(Seq::new).ok_or(InternError::BadRange { first, more })?;
        let body = match body {
            IncomingBody::Report(ops) => Received::Report(PackedReport::new(self.paths.clone(), ops)?),
            IncomingBody::Other(WireBody::DesiredApplied(version)) => StateBody::DesiredApplied(version).into(),
            IncomingBody::Other(WireBody::DesiredRejected(path, version, reason)) => {
                StateBody::DesiredRejected { path: self.path(path)?.clone(), version, reason }.into()
            }
            IncomingBody::Other(WireBody::Lost) => StateBody::Lost.into(),
            IncomingBody::Other(WireBody::Alarm(alarm)) => Received::Alarm(alarm),
            // A report whose map or key is not in its shortest form.
            IncomingBody::Other(WireBody::Report(_)) => {
                return Err(ReportError::from(Malformed::Expected("a report in its shortest form")).into());
            }
        };
        Ok(ReceivedState { twin: self.twin(twin)?.clone(), stay, first, last, body })
    }
}
