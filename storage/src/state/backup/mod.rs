//! A backup of all groups while they work.
//!
//! Neither the log nor a read transaction is held on to for as long as a backup takes: the one would stop writes at its budget, the
//! other would keep every page alive that is replaced meanwhile (at full load, hundreds of megabytes a second). Instead each chunk is
//! read from the checkpoint of its moment, and what is written *behind* the reading is read again:
//!
//! 1. The group's rows are read in key order, a chunk at a time. From the first chunk on the checkpointer notes which of the rows that
//!    were read before it replaces ([`tracking`]). Their keys are all that a backup keeps, and they have a bound.
//! 2. Where they grow to a share of it, a chunk of theirs is read again before the reading goes on.
//! 3. At the end of the group, what is still noted is read at once from one checkpoint, which is thereby **the group's point**. Rows
//!    that did not change since they were read last are as that checkpoint has them, and the others are read from it.
//!
//! A row may therefore come several times, and the last time counts; one that is gone comes as gone. The first thing that a backup
//! does is to ask for a checkpoint, so everything that was acknowledged before it began is in it. Groups come with the directory last,
//! so that what the cells refer to is in it.
//!
//! **What it costs:** it reads the state file once through its page cache; the checkpointer waits for one chunk at most; a read
//! transaction lives for a chunk, or for what is read at the end of a group ([`BACKUP_END_BYTES_MAX`]).
//!
//! [`BACKUP_END_BYTES_MAX`]: crate::limits::BACKUP_END_BYTES_MAX

mod rows;
mod source;
mod tracking;

pub use rows::{BackupRow, read_rows};
pub use source::{Backup, BackupChunk, BackupError, BackupSource};

pub(crate) use tracking::Tracking;
