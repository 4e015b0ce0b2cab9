//! The state file: all groups' rows, applied to memory and written by one thread in checkpoints.
//!
//! Applying an entry touches memory only. About once a second the checkpointer freezes what every group
//! changed and writes it, sorted, with each group's last applied id, in one durable transaction. A reader
//! looks at three layers as one snapshot: active, frozen, file.

mod backup;
mod base;
mod checkpoint;
mod dirty;
mod group;
mod machine;
mod merge;
mod reader;
mod snapshot;
mod tables;

pub use backup::{Backup, BackupChunk, BackupError, BackupRow, BackupSource, read_rows};
pub use machine::{SnapshotBuilder, StateMachine};
pub use reader::{GroupReader, ReadError, Scan, StateReader};
pub use snapshot::{SnapshotChunks, SnapshotData, SnapshotError, SnapshotReceiver};

pub(crate) use base::Base;
pub(crate) use checkpoint::{Checkpointer, Command, sealed, spawn};
pub(crate) use group::{GroupState, StateShared};
pub(crate) use tables::{Covered, journal_durable, load, make_tables, put_covered, put_row_key, rows};
