//! The files of a node: the Raft log with group commit, and the state with timed checkpoints.
//!
//! - [`Storage`] opens the files and hands out, per group, what openraft needs to run a replica;
//! - [`consensus`] is our side of openraft: its types, named once;
//! - [`EntryData`] is what an entry carries, chained by [`ChainLink`] (the chain rule is in `chain`);
//! - [`families`] are the key families, one file each;
//! - `log` holds the journal and its rounds, `state` the state file and its checkpoints;
//! - [`BackupSource`] reads a backup while all goes on, and [`Restorer`] makes a node's files of it;
//! - [`SealOptions`] says how values are sealed at rest;
//! - [`StateReader`] reads rows, [`Budgets`] is asked before proposing, [`StorageStats`] counts.

pub mod consensus;
pub mod families;
pub mod limits;

mod budgets;
mod chain;
mod codec;
mod disk;
mod entry;
mod failure;
mod guard;
mod log;
mod open;
mod open_error;
mod options;
mod restore;
mod seal;
mod sharing;
mod space;
mod state;
mod stats;
mod stopwatch;
mod storage;

pub use budgets::{Budgets, Pressure};
pub use disk::{DirectoryDisk, Disk};
pub use entry::{Applied, ChainLink, Change, EntryData, EntryError, RowChange};
pub use failure::{DataFile, RESTORE_A_BACKUP, StorageFailure};
pub use families::Family;
#[doc(hidden)]
pub use log::recovered_entries;
pub use log::{LogReader, LogStore};
pub use open::{FORMAT_VERSION, Opening};
pub use open_error::{Lost, OpenError};
pub use options::Options;
/// The file format below: a [`Disk`] hands out its backends.
pub use redb;
pub use restore::{RestoreError, Restorer};
pub use seal::{NoKey, SEAL_OVERHEAD_BYTES, STATE_KEY_BYTES, SealOptions, StateKey};
pub use state::{
    Backup, BackupChunk, BackupError, BackupRow, BackupSource, GroupReader, ReadError, Scan, SnapshotBuilder,
    SnapshotChunks, SnapshotData, SnapshotError, SnapshotReceiver, StateMachine, StateReader, read_rows,
};
pub use stats::{Count, LATENCY_BUCKETS_US, Latency, StorageStats};
pub use storage::{Group, OpenedFiles, Openings, Storage};
