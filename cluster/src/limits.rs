//! Every bound of the cluster, with its reason.

use std::time::Duration;

/// Bytes of rows past which no further proposal is added to a Raft entry: a bigger entry delays its first command. The log file's
/// pages come in powers of two, and an entry has its own: this one fills one of 128 KiB, where one of 85 kB takes it, too.
pub const ENTRY_FILL_BYTES: u64 = 127 * 1024;
/// Rows after which none is added, likewise: those of deletes are small.
pub const ENTRY_ROWS_MAX: usize = 1024;
/// Most proposals taken from the queue at a time.
pub const PROPOSALS_GATHERED_MAX: usize = 256;
/// Twins that are read from the disk in one go.
pub const LOAD_TWINS_MAX: usize = 128;
/// Goes that may be under way at once: with more, they would wait for one disk and few cores.
pub const LOADS_AT_ONCE_MAX: usize = 4;
/// Entries proposed and not yet applied. Two keep the disk busy while the next is gathered; four hide a slow round.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// A write that is not applied after this long has an unknown outcome, and poisons the chain behind it.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(10);
/// What a caller is told to wait when a budget is used up.
pub const RETRY_BUSY_MS: u64 = 50;
/// What a caller is told to wait when the owner changed.
pub const RETRY_UNAVAILABLE_MS: u64 = 200;
/// Shards of the grain table: one lock each. Far more than cores, so that two threads rarely meet.
pub const GRAIN_SHARDS: usize = 64;
/// Grains that are looked at to find the one that goes when there is no room: of so many the oldest is old.
pub const ROOM_CANDIDATES: usize = 16;
/// How often idle grains are looked for.
pub const PASSIVATION_INTERVAL: Duration = Duration::from_secs(5);
/// Events that a slow observer may be behind before it is told that it missed some.
pub const OBSERVER_BACKLOG_MAX: usize = 8192;
/// Most twins on a page of a listing.
pub const PAGE_TWINS_MAX: usize = 1000;
/// Method calls of a node that wait for an answer.
pub const METHOD_CALLS_MAX: usize = 10_000;
/// Most sites of a cluster (10,000 are planned for).
pub const SITES_MAX: usize = 100_000;
/// Most gateways of a site.
pub const SITE_GATEWAYS_MAX: usize = 1000;
/// Unpurged log of a group above which a checkpoint makes it shorter.
pub const LOG_PURGE_ENTRIES: u64 = 1000;
