//! Every bound of the cluster, with its reason.

use std::time::Duration;

/// Rows in a Raft entry after which no further proposal is added: a bigger entry wins nothing and delays its first command.
pub const ENTRY_ROWS_MAX: usize = 256;
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
/// Most admin tokens of a cluster: people, programs and their successors.
pub const TOKENS_MAX: usize = 256;
/// Ids on a site's list. Ten gateways with thousands of devices each.
pub const SITE_DEVICES_MAX: usize = 65_536;
/// Of them, those that one entry adds or removes.
pub const SITE_DEVICES_PER_ENTRY: usize = ENTRY_ROWS_MAX;
/// How often it is looked whether an old key of a gateway has ended.
pub const KEY_END_INTERVAL: Duration = Duration::from_secs(1);
/// Unpurged log of a group above which a checkpoint makes it shorter.
pub const LOG_PURGE_ENTRIES: u64 = 1000;
/// What a caller is told to wait while a site's gate is closed: about a commit.
pub const RETRY_GATE_MS: u64 = 50;
/// Twins of a site that is deleted which are under way at a time: a chunk of a batch.
pub const REMOVAL_TWINS_AT_ONCE_MAX: usize = 64;
/// Twins that are counted to say what hangs on a site.
pub const SITE_HANGING_SHOWN_MAX: usize = 1000;
/// Sites that a page of an export looks at where only ids with a prefix are wanted: two reads each.
pub const EXPORT_PAGE_SITES_MAX: usize = 64;
