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
/// Activators, each of which has its share of the twins and one go under way: with more, goes would wait for one disk and few cores,
/// and each would be small.
pub const ACTIVATORS: usize = 4;
/// Entries proposed and not yet applied. Two keep the disk busy while the next is gathered; four hide a slow round.
pub const ENTRIES_IN_FLIGHT_MAX: usize = 4;
/// A write that is not applied after this long has an unknown outcome, and poisons the chain behind it.
pub const COMMIT_DEADLINE: Duration = Duration::from_secs(10);
/// After how long whoever waits for a commit is told that the log waits for room on the disk, and how often that is looked at then.
pub const DISK_FULL_ANSWER_AFTER: Duration = Duration::from_secs(1);
/// What a caller is told to wait then: room is made by people.
pub const RETRY_DISK_FULL_MS: u64 = 2000;
/// How often it is looked whether a group's replica waits for the disk: its queue has room for a hundred times that.
pub const CORE_LOOK_INTERVAL: Duration = Duration::from_secs(1);
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
/// Events that are kept for observers that were cut off: a minute at a thousand a second.
pub const EVENT_RING_EVENTS_MAX: usize = 65_536;
/// What these events may weigh: a usual one has 300 to 500 bytes. Nothing where nobody watches.
pub const EVENT_RING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// For how long events are kept after the last observer left. So long reports cost what they do under observation; browsers come
/// back after 3 s, twinctl sooner.
pub const RESUMABLE_FOR: Duration = Duration::from_secs(30);
/// Those who may wait for single twins at a time. Each is a request, and a quarter of the connections stays free.
pub const FOLLOWERS_MAX: usize = 1024;
/// Most twins on a page of a listing.
pub const PAGE_TWINS_MAX: usize = 1000;
/// Method calls of a node that wait for an answer.
pub const METHOD_CALLS_MAX: usize = 10_000;
/// Most sites of a cluster (10,000 are planned for).
pub const SITES_MAX: usize = 100_000;
/// Most gateways of a site.
pub const SITE_GATEWAYS_MAX: usize = 1000;
/// Idempotency keys that a site remembers, and a gateway: as many as a twin, for the same reason.
pub const SITE_KEYS_MAX: usize = 8;
/// See [`SITE_KEYS_MAX`].
pub const GATEWAY_KEYS_MAX: usize = 8;
/// Idempotency keys of tokens that a cluster remembers: about 100 bytes each, in a row that is written when a token is made.
pub const TOKEN_KEYS_MAX: usize = 64;
/// Most admin tokens of a cluster: people, programs and their successors.
pub const TOKENS_MAX: usize = 256;
/// Ids on a site's list. Ten gateways with thousands of devices each.
pub const SITE_DEVICES_MAX: usize = 65_536;
/// Of them, those that one entry adds or removes.
pub const SITE_DEVICES_PER_ENTRY: usize = ENTRY_ROWS_MAX;
/// How often it is looked whether an old key of a gateway has ended.
pub const KEY_END_INTERVAL: Duration = Duration::from_secs(1);
/// Unpurged log of a group above which a checkpoint makes it shorter, besides the bound in bytes ([`twin_storage::Budgets::should_purge`]).
pub const LOG_PURGE_ENTRIES: u64 = 1000;
/// What a caller is told to wait while a site's gate is closed: about a commit.
pub const RETRY_GATE_MS: u64 = 50;
/// Twins of a site that is deleted which are under way at a time: a chunk of a batch.
pub const REMOVAL_TWINS_AT_ONCE_MAX: usize = 64;
/// Twins that are counted to say what hangs on a site.
pub const SITE_HANGING_SHOWN_MAX: usize = 1000;
/// Sites that a page of an export looks at where only ids with a prefix are wanted: two reads each.
pub const EXPORT_PAGE_SITES_MAX: usize = 64;
