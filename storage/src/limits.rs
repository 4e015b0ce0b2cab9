//! Every bound of the storage, with its reason.

use std::time::Duration;

/// Most encoded bytes of one entry's rows. One entry is one batch of about 256 changes of 300-450 B;
/// the bound leaves room for a few large documents and keeps an RPC and a round small.
pub const ENTRY_BYTES_MAX: u64 = 1024 * 1024;
/// What one row costs in an entry besides key and value: family, array and length marks.
pub const ENTRY_ROW_OVERHEAD_BYTES: u64 = 16;
/// Longest row key. The longest we build is a site (64), a NUL and a twin id (128).
pub const KEY_BYTES_MAX: usize = 256;

/// Entries kept in memory per group after they are durable. What openraft applies and what followers
/// that keep up ask for comes from here; the bytes are shared with the dirty maps, so this is cheap.
pub const LOG_TAIL_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes of entries that one read returns when openraft lets us stop early (replication), and
/// that a stream of entries holds at once.
pub const LOG_READ_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Most bytes that one round commits: bounds the latency of its last callback (about 30 ms here).
pub const ROUND_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Riders (committed, purge) that found no round to ride on are written after this much quiet.
pub const LOG_IDLE_FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Log that a durable checkpoint covers is purged when there is more log than this: a start after a kill walks all that is there.
pub const LOG_PURGE_BYTES: u64 = 8 * 1024 * 1024;
/// Riders gathered without a round at which one is made anyway.
pub const RIDERS_MAX: usize = 4096;
/// Default bytes of a slot of the journal. What a start walks frame by frame is less than one of them; what is freed is freed by slots.
pub const LOG_SLOT_BYTES: u64 = 8 * 1024 * 1024;
/// Most bytes of a slot: what is read of a file is reserved by them.
pub const LOG_SLOT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
/// Nothing in a journal counts so far: slots, frames, openings, entries. So that no sum of what a file says overflows.
pub const LOG_NUMBER_MAX: u64 = u64::MAX / 2;
/// Bytes after which a round goes on in another frame, at most.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Most items of a frame: bounds what is reserved for one that is being read.
pub const FRAME_ITEMS_MAX: usize = 32 * 1024;
/// Page cache of `log.redb`, which holds a few rows.
pub const LOG_CACHE_BYTES: usize = 256 * 1024;

/// Default time between checkpoints.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);
/// Default page cache of `state.redb`. Faster than redb's default of 1 GiB in our measurements.
pub const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Default budget of rows that are applied and not yet in a checkpoint (active and frozen together).
pub const DIRTY_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// A checkpoint starts early when dirty bytes pass the budget divided by this.
pub const DIRTY_EARLY_CHECKPOINT_DIVISOR: u64 = 4;
/// Default budget of log that is not purged: bounds the disk and the re-apply at the next start.
pub const LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// One part in so many of those two comes on top for alarms. Commands run past a bound by what was admitted when it was reached (64 MiB
/// of them at most, whose rows have about half), and alarms must fit above that as well.
pub const ALARM_HEADROOM_PART: u64 = 4;
/// Room on the disk below which nothing is admitted: what was admitted before (64 MiB at most) still fits into the log. A checkpoint
/// may need more, and waits.
pub const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// What the files of a node take at first, besides the log's slots: two redb files of about 1 MiB, and room to write them anew.
pub const FIRST_FILES_BYTES: u64 = 8 * 1024 * 1024;
/// How often it is looked how much room the disk has, in bytes written to a file, besides once in each checkpoint interval. Some fill
/// a reserve within a second.
pub const DISK_LOOK_BYTES: u64 = 8 * 1024 * 1024;
/// How often a write that found the disk full is tried again.
pub const DISK_RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// When whoever was refused for want of room on the disk should ask again: room is made by people.
pub const DISK_RETRY_AFTER: Duration = Duration::from_secs(2);
/// When whoever was refused because dirty rows or log passed their budget should ask again: a checkpoint or a purge is about to end.
pub const BUDGET_RETRY_AFTER: Duration = Duration::from_millis(50);
/// What one dirty row costs in memory besides key and value: tree slot and two reference-counted buffers.
pub const DIRTY_ROW_OVERHEAD_BYTES: u64 = 160;

/// Most rows that one scan returns.
pub const SCAN_ROWS_MAX: usize = 4096;
/// Most bytes of keys and values that one scan returns.
pub const SCAN_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of one chunk of a snapshot's row stream.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;
/// Largest snapshot that is received: it is gathered in memory until it is installed.
pub const SNAPSHOT_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Bytes of one chunk of a backup. The checkpointer may have to wait while one is read: some milliseconds.
pub const BACKUP_CHUNK_BYTES: usize = 256 * 1024;
/// Most bytes of names of rows that changed behind the reading of a backup; beyond, the backup ends. Some 600,000 rows: ten times what a
/// node writes in a second.
pub const BACKUP_CHANGED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a name costs besides its bytes: its place in a tree, and the allocation.
pub const BACKUP_CHANGED_ROW_OVERHEAD_BYTES: u64 = 56;
/// When that divided by this is reached, every other chunk is of rows that changed.
pub const BACKUP_REREAD_DIVISOR: u64 = 4;
/// Rows of such a chunk: about as many as of others.
pub const BACKUP_REREAD_ROWS: usize = 640;
/// Most rows that are read from one checkpoint to end a group: what a node writes between two checkpoints.
pub const BACKUP_END_ROWS_MAX: usize = 64 * 1024;
/// Most bytes of them, which are held in memory.
pub const BACKUP_END_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How often that may not have been enough.
pub const BACKUP_ROUNDS_MAX: u32 = 64;
/// Rows of each family that are looked at to estimate how large a backup will be.
pub const BACKUP_SAMPLE_ROWS: usize = 256;
/// Bytes of rows that a restore commits at once.
pub const RESTORE_COMMIT_BYTES: u64 = 32 * 1024 * 1024;
