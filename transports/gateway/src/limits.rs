//! Every bound of the gateway, with its reason.

use std::time::Duration;

/// Bytes at the beginning of an outbox's file that are on the disk from its first start on, so that a start on a full disk has the dozen
/// pages that its boot takes. redb begins with more, but in holes.
pub const OUTBOX_KEPT_BYTES: u64 = 1024 * 1024;
/// What opening an outbox may write before it is known to be one: repairing a file that a crash left takes some pages.
pub const HELD_BACK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Devices that one gateway keeps in mind. What the node accepts through one session.
pub const TWINS_MAX: usize = twin_transports::limits::SESSION_TWINS_MAX;
/// Cap of the outbox unless the options say otherwise: a store's night without a link, on a box with 512 MB of flash to spare.
pub const OUTBOX_BYTES_MAX_DEFAULT: u64 = 64 * 1024 * 1024;
/// Smallest cap: room for a few documents of full size.
pub const OUTBOX_BYTES_MIN: u64 = 256 * 1024;
/// What a message weighs besides its encoded bytes: its entry in the index and its row's share of the B-tree. It makes the cap
/// bound memory, too.
pub const MESSAGE_OVERHEAD_BYTES: u64 = 64;
/// Past this share of the cap (in percent), unsent reports of a twin are coalesced.
pub const COALESCE_FROM_PERCENT: u64 = 80;
/// Most neighbours that one report is coalesced with: bounds the work of one call.
pub const COALESCE_NEIGHBOURS_MAX: usize = 64;
/// Messages that share a row, at most: what one `report_many` of a batch's size needs.
pub const CHUNK_MESSAGES_MAX: usize = 256;
/// Bytes of a row of several messages, at most; a larger message has one of its own.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;
/// A row that is so many rows older than the newest lingers: what is done of it is noted with each commit.
pub const LINGER_CHUNKS: u64 = 32;
/// What is done and still in the file may take this part of the cap before rows are rewritten without it.
pub const GARBAGE_PART: u64 = 8;
/// Rows rewritten at a time to get rid of what is done in them: bounds the work of one call.
pub const REWRITES_MAX: usize = 8;
/// Paths that have numbers. Beyond, a body carries its further paths itself and is translated when it is sent.
pub const DICTIONARY_PATHS_MAX: usize = 2048;
/// Bytes of those paths: all of them fit a batch together with its messages.
pub const DICTIONARY_BYTES_MAX: usize = 128 * 1024;
/// Rows kept in memory so that sending need not read the disk; beyond, the oldest are read when their turn comes.
pub const WINDOW_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Appends that may wait for one commit. Past it, callers wait their turn: the writer takes megabytes a second from flash.
pub const UNCOMMITTED_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest that a row waits for the node's ack before it is written, unless the options say otherwise. Only acks of a node nearby
/// that has much to do take so long: whoever reports to it waits for it, and not for flash that would be written for nothing.
pub const PATIENCE_MAX_DEFAULT: Duration = Duration::from_millis(250);
/// Shortest, where there is patience at all: acks of a node nearby take some milliseconds when it writes a checkpoint.
pub const PATIENCE_MIN: Duration = Duration::from_millis(5);
/// A node is nearby if the round trip, or an ack, takes no longer: about half of what a commit takes on flash.
pub const NEAR_ACK_MAX: Duration = Duration::from_millis(10);
/// What the time that acks usually take may rise by, beside doubling, with one that takes longer.
pub const ACK_TIME_STEP: Duration = Duration::from_millis(1);
/// From this size on commits keep account of the file's pages, so that it is open at once after a kill: see
/// `outbox/writer.rs`. Below, reopening takes about a millisecond for each megabyte.
pub const QUICK_REPAIR_FROM_BYTES: u64 = 16 * 1024 * 1024;
/// Cache of the outbox file. Appends touch few pages.
pub const OUTBOX_CACHE_BYTES: usize = 8 * 1024 * 1024;
/// Removals of acked messages, and notes of them, wait this long for an append to ride along with: a commit of their own costs as
/// much as one of many messages, and a crash before only sends them again.
pub const IDLE_FLUSH_AFTER: Duration = Duration::from_millis(500);

/// How often a write that found no room on the disk tries again.
pub const DISK_RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// Before this a report that was refused for want of room need not be tried again: people make room.
pub const DISK_FULL_RETRY_AFTER: Duration = Duration::from_secs(1);
/// What a disk writes at once: bytes written are counted in these.
pub const DISK_BLOCK_BYTES: u64 = 4096;
/// Unwritten rows in memory while nothing can be written, or should: what is acked meanwhile never needs to be.
pub const UNWRITTEN_BYTES_MAX: u64 = 1024 * 1024;

/// Messages of a device that are looked at to see whether one of them waits for the disk; where more are unsent, one may.
pub const HELD_LOOK_MAX: usize = 64;
/// Smallest budget of bytes written to flash a day: what some dozen restarts and some hundred commits take.
pub const FLASH_BYTES_PER_DAY_MIN: u64 = 16 * 1024 * 1024;
/// Flash is scarce once less than this part of the day's budget is left.
pub const FLASH_SCARCE_PART: i64 = 2;
/// This part of the day's budget is kept for events: state that would need a write is refused below it.
pub const FLASH_RESERVE_PART: i64 = 8;
/// The file is told what is left of the budget whenever this part of it was used: a page each time.
pub const FLASH_STEP_PART: i64 = 64;
/// Longest patience with acks where flash is scarce: a caller waits so long for a node that is busy or far, instead of a write.
pub const FLASH_PATIENCE_MAX: Duration = Duration::from_secs(10);
/// Without a link, longest that a commit waits for more to go with it where flash is scarce.
pub const FLASH_GATHER_MAX: Duration = Duration::from_secs(1);
/// How much longer removals wait there for a commit to ride along with: a crash before only sends again.
pub const FLASH_IDLE_FLUSH_MAX: Duration = Duration::from_secs(60);
/// Before this a report that was refused for want of budget need not be tried again.
pub const FLASH_RETRY_AFTER_MIN: Duration = Duration::from_secs(1);

/// Dead letters kept, the oldest go first (and are counted).
pub const DEAD_LETTERS_MAX: usize = 4096;
/// Their bytes, likewise.
pub const DEAD_LETTERS_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Dead letters listed at once: some hundred KB.
pub const DEAD_LETTERS_PAGE_MAX: usize = 256;
/// Refusals that receipts can still ask for, per twin; of older ones a receipt says that it was forgotten.
pub const REFUSALS_REMEMBERED_MAX: usize = 64;
/// Longest name of a source of positions.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Sources whose positions are kept: one per replayed file.
pub const SOURCES_MAX: usize = 65_536;

/// Most bytes of messages in one batch: what is left of a frame after ids, paths and headers.
pub const BATCH_BYTES_MAX: u64 = 512 * 1024;
/// With this many batches under way, a further one is sent only if it is worth while. Where acks take no longer than
/// [`GATHER_MAX`], with one.
pub const EAGER_BATCHES: usize = 2;
/// What is reported while a batch is under way for no longer than this goes together in the next one.
pub const GATHER_MAX: Duration = Duration::from_millis(5);
/// Worth while: this many messages.
pub const WORTHWHILE_MESSAGES: usize = 64;
/// Attach requests under way at once: 4,096 devices.
pub const ATTACHES_IN_FLIGHT_MAX: usize = 16;

/// Shortest delay before connecting again: a restarted node is back in about this time.
pub const RECONNECT_BASE: Duration = Duration::from_millis(50);
/// Longest delay before connecting again while a node has only just gone; afterwards a quarter of its absence.
pub const RECONNECT_CAP_MIN: Duration = Duration::from_millis(500);
/// Longest delay before connecting again. With the attempts' own time, 5,000 gateways then ask a node that is away some 130 to
/// 200 times a second.
pub const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// How long the first attempt may take, welcome included; later ones have twice as long as the one before, up to
/// [`CONNECT_TIMEOUT`]. Some round trips of a mobile network.
pub const ATTEMPT_TIMEOUT_MIN: Duration = Duration::from_millis(500);
/// Delay, at least, before asking a node again that has more connections at its door than it takes.
pub const TURNED_AWAY_PAUSE: Duration = Duration::from_millis(500);
/// How often a gateway that waits for an answer looks whether anything came, and says a heartbeat to be answered.
pub const SILENCE_TICK: Duration = Duration::from_millis(200);
/// A node that takes long to answer is asked at most this seldom whether it is there.
pub const ASK_EVERY_MAX: Duration = Duration::from_millis(800);
/// After this long without a packet from the node, although one is due, a new connection is tried beside the old one. A half is
/// added by chance. Many times the round trip of any network that gateways are on; a slower one is measured, see
/// [`SILENCE_ROUND_TRIPS`].
pub const SILENCE_MAX: Duration = Duration::from_millis(500);
/// Round trips of silence that are usual, whatever [`SILENCE_MAX`] says.
pub const SILENCE_ROUND_TRIPS: u32 = 6;
/// How often the patience with silence doubles when the node turns out to be alive: up to 8 s.
pub const SILENCE_FALSE_ALARMS_MAX: u32 = 4;
/// Delay after a refusal that only a person can mend (bad credential, revoked), at least.
pub const RECONNECT_REFUSED_MIN: Duration = Duration::from_secs(15);
/// How often a gateway that waits before it connects again looks whether its credentials were renewed meanwhile: three small files.
pub const CREDENTIALS_LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often a device that is not registered is attached again: it may be registered at any time.
pub const UNREGISTERED_RETRY: Duration = Duration::from_secs(5);
/// Delay before attaching again when the node forgot the attachment twice.
pub const REATTACH_AFTER: Duration = Duration::from_millis(200);
/// Longest delay that a refusal's retry time is believed.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// How long a reading waits for its answer, whatever happens to the session meanwhile.
pub const GET_TIMEOUT: Duration = Duration::from_secs(10);
/// Twins that are being read at once: four times what the node answers at once, and some megabytes of usual views.
pub const READINGS_MAX: usize = 8192;
/// Twins of one call that are read at once; those beyond follow. All that the node answers at once to one gateway.
pub const READ_CALL_MAX: usize = twin_transports::limits::READ_TWINS_MAX * twin_transports::limits::READS_IN_FLIGHT_MAX;
/// Method handlers that run at once; beyond, a call is answered with status 503.
pub const METHODS_RUNNING_MAX: usize = 256;
/// Merged operations that wait for the application, per twin; beyond, it gets a snapshot.
pub const DESIRED_OPS_MAX: usize = twin_core::limits::OPS_MAX;
/// Answers to method calls that wait to be sent.
pub const CALL_RESULTS_MAX: usize = 1024;
/// A session that lived this long ends the growth of the pauses between connections.
pub const SESSION_GOOD_AFTER: Duration = Duration::from_secs(10);
/// How long the most patient attempt to connect may take, handshake included. A little more than the node grants.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(12);
/// How long saying goodbye may take.
pub const FAREWELL_TIMEOUT: Duration = Duration::from_millis(500);
/// Shortest and longest heartbeat interval that a node may ask for.
pub const HEARTBEAT_INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(60);

/// How long a stopping gateway leaves its last heartbeat before it closes the connection: some scheduling and one datagram.
pub const GOODBYE_PAUSE: Duration = Duration::from_millis(5);

/// Notes of when messages were appended are this far apart at least: the age of a backlog is right by as much.
pub const AGE_NOTE_EVERY: Duration = Duration::from_secs(1);
/// Most of these notes: a kilobyte.
pub const AGE_NOTES_MAX: usize = 64;
