//! Every bound of the node's REST, with its reason.

use std::time::Duration;

use twin_core::limits::TWIN_ID_BYTES_MAX;

/// How long a start may take before somebody else answers in the REST's place: usual ones take a tenth of that.
pub const STARTING_QUIETLY: Duration = Duration::from_millis(300);

/// Largest request body. The largest twin that may be sent, with every section at its bound, has 40 KiB; the rest is room for
/// white space and escapes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;
/// A refused body is read to its end up to this size, so that the client sees the answer rather than a reset.
pub const BODY_DISCARDED_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request's head may take to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
pub const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// Open connections; more wait to be accepted. Each costs at most about 100 KiB of buffers.
pub const CONNECTIONS_MAX: usize = 2_048;
/// Connections that may wait to be accepted: what arrives in a tenth of a second of a siege.
pub const BACKLOG: i32 = 1_024;
/// Of these, connections that have shown no token, or are not through TLS yet: past it the oldest is closed. Half, so that the other
/// half is there for those who have one; and so many that with round trips of 100 ms a token is shown in time against three thousand new
/// connections a second over TLS, which takes two of them first, and ten thousand without.
pub const STRANGERS_MAX: usize = CONNECTIONS_MAX / 2;
/// How long TLS may take to be agreed on.
pub const TLS_TIMEOUT: Duration = Duration::from_secs(3);
/// How long requests in flight may take to finish when the node stops.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Threads that serve REST: its handlers only parse, wait and render, and a node must stay lean.
pub const WORKERS: usize = 2;

/// Observers (open event streams) at a time. Each holds a connection and a place in the broadcast.
pub const OBSERVERS_MAX: usize = 256;
/// Silence after which an event stream carries a comment, so that proxies keep it open, and so that an observer that closed its
/// connection does not keep its place: only what is sent to it tells that it is gone.
pub const EVENTS_KEEP_ALIVE: Duration = Duration::from_secs(2);
/// By then the place of an observer that closed its connection is free: the first comment is answered with a reset, and the
/// second one finds the connection reset.
pub const EVENTS_GONE_AFTER: Duration = EVENTS_KEEP_ALIVE.saturating_mul(2);

/// How long a change waits for the device unless asked otherwise.
pub const WAIT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest wait for the device, in seconds: proxies of a usual kind close a silent request after a minute or two.
pub const WAIT_SECONDS_MAX: u64 = 120;
/// What a client is told to wait for a place among those that wait.
pub const WAIT_RETRY_AFTER: Duration = Duration::from_secs(1);
/// After this long a reading that the node had no room for is tried again by one that waits.
pub const WAIT_READ_RETRY: Duration = Duration::from_millis(100);

/// Twins of a page unless asked otherwise.
pub const PAGE_LIMIT_DEFAULT: u64 = 100;
/// Most twins of a page.
pub const PAGE_LIMIT_MAX: u64 = 1_000;
/// Longest cursor.
pub const CURSOR_BYTES_MAX: usize = 512;

/// How long a method call waits unless asked otherwise.
pub const METHOD_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Shortest wait for a method call.
pub const METHOD_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// Longest wait for a method call.
pub const METHOD_TIMEOUT_MAX: Duration = Duration::from_secs(300);

/// What a request weighs for admission beside its body: its place among those that wait, and the answer's frame.
pub const REQUEST_BYTES: usize = 512;
/// What an observer missed goes out in chunks of about this size.
pub const EVENTS_CHUNK_BYTES: usize = 32 * 1024;
/// Most events of one chunk of an event stream.
pub const EVENTS_PER_CHUNK: usize = 64;

/// How long what was sent may wait for a client to take it before its connection is closed.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Batches under way at a time. Each holds its window below; 16 of them hold about as much as the core admits.
pub const BATCHES_MAX: usize = 16;
/// What a client beyond that is told to wait.
pub const BATCH_RETRY_AFTER: Duration = Duration::from_secs(1);
/// Longest line of a batch: the largest steering part, 40 KiB, with every character escaped.
pub const BATCH_LINE_BYTES_MAX: usize = 256 * 1024;
/// Items of a batch that are read and whose results are not sent: what a client may send before it reads.
pub const BATCH_WINDOW_ITEMS_MAX: usize = 4_096;
/// Bytes of their lines, each with [`BATCH_ITEM_BYTES`].
pub const BATCH_WINDOW_BYTES_MAX: usize = 4 * 1024 * 1024;
/// What an item weighs in its batch's window beside its line: its place, its id and its result.
pub const BATCH_ITEM_BYTES: usize = 512;
/// Chunks of a body, and of an answer, between the connection and the task that works on the batch. One is worked on while the
/// next arrives.
pub const BATCH_CHUNKS_MAX: usize = 2;
/// Results are sent once they have this many bytes, or when no more are ready.
pub const BATCH_RESULT_BYTES: usize = 32 * 1024;
/// Items that are given to the core together: a millisecond of a thread's work at most, and far cheaper than each by itself.
pub const BATCH_CHUNK_ITEMS_MAX: usize = 64;
/// Items of all batches together that may be under way in the core, at the least: ten milliseconds of two cores' work, gateways
/// included. Where a commit takes 50 ms for whatever reason, batches still get 5,000 items a second.
pub const BATCH_SHARE_ITEMS_MIN: usize = 256;
/// The same at the most, where the node is quick: several hundred thousand items a second.
pub const BATCH_SHARE_ITEMS_MAX: usize = 2_048;
/// What the share grows by each time that the node was quick, up to a hundred times a second.
pub const BATCH_SHARE_STEP: usize = 16;
/// How often a node that works on batches is asked how quick it is.
pub const BATCH_PROBE_INTERVAL: Duration = Duration::from_millis(10);
/// A node is quick if everything given to it is committed within this: some rounds of a quick disk.
pub const BATCH_QUICK: Duration = Duration::from_millis(8);
/// How long a batch waits, without a single success, for a node that has no room or no leader; then it says so, item by item. It does not
/// wait for room on a disk that is full.
pub const BATCH_PATIENCE: Duration = Duration::from_secs(30);
/// How long a batch waits for more of its body.
pub const BATCH_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest detail or pointer of an item's problem: they may repeat the input.
pub const ITEM_TEXT_BYTES_MAX: usize = 512;

/// Largest file of the audit log, some 8,000 lines.
pub const AUDIT_FILE_BYTES_MAX: u64 = 2 * 1024 * 1024;
/// Bytes of an audit file that are read, whoever wrote them: a file that is larger is none of ours.
pub const AUDIT_FILE_READ_BYTES_MAX: u64 = 2 * AUDIT_FILE_BYTES_MAX;
/// Files of each of its three series: 48 MiB in all.
pub const AUDIT_FILES_MAX: usize = 8;
/// Longest text in a line: a twin's path, percent-encoded, with room.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;
/// Lines that may wait to be written: more than requests under way at most times, and 2 MB.
pub const AUDIT_QUEUE_MAX: usize = 4_096;
/// Lines that are written together at most.
pub const AUDIT_WRITTEN_TOGETHER_MAX: usize = 256;
/// How long a request waits for its line: a disk that takes longer is as good as none.
pub const AUDIT_TIMEOUT: Duration = Duration::from_secs(5);
/// When whoever was refused for it should ask again.
pub const AUDIT_RETRY_AFTER: Duration = Duration::from_secs(2);
/// Quiet after which lines of steering and security are put on the disk.
pub const AUDIT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often it is told how many lines of the audit log were lost meanwhile.
pub const AUDIT_LOSSES_TOLD_EVERY: Duration = Duration::from_secs(1);
/// How long security events of one source are one line.
pub const AUDIT_WINDOW: Duration = Duration::from_secs(60);
/// Sources told apart within it.
pub const AUDIT_SOURCES_MAX: usize = 32;
/// What they tried, told in one line beside how often: so many different ones.
pub const AUDIT_TARGETS_MAX: usize = 8;
/// Lines of a page unless asked otherwise.
pub const AUDIT_PAGE_DEFAULT: u64 = 100;
/// Most lines of a page.
pub const AUDIT_PAGE_MAX: u64 = 1_000;
/// How often an answer that takes long is held against its token.
pub const ADMISSION_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Longest life of a token that has an end.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 86_400);

/// How long a gateway's old credentials work beside new ones, unless asked otherwise.
pub const KEY_OVERLAP_DEFAULT: Duration = Duration::from_secs(86_400);
/// At most: a year.
pub const KEY_OVERLAP_MAX: Duration = Duration::from_secs(366 * 86_400);
/// Ids of a site's list on a page, unless asked otherwise.
pub const DEVICES_PAGE_DEFAULT: u64 = 1_000;
/// At most.
pub const DEVICES_PAGE_MAX: u64 = 4_096;

/// Least time between two looks for progress while a chain breaks and mends.
pub const PROGRESS_RETRY: Duration = Duration::from_millis(50);

/// Longest line of an import: that of an export, which has `reported` as well (72 KiB), with every character escaped.
pub const IMPORT_LINE_BYTES_MAX: usize = 512 * 1024;
/// Longest line of a batch of ids: the id with every character escaped, and room for white space.
pub const GET_LINE_BYTES_MAX: usize = 4 * 1024;
/// What is kept free in a batch's window for a twin that is being read: the largest view, sections at their bounds with their
/// stamps, the removed keys and the rejections. What it really has is weighed once it is there.
pub const GET_VIEW_BYTES_MAX: usize = 160 * 1024;

/// Exports under way at a time. Each holds a page and some chunks.
pub const EXPORTS_MAX: usize = 8;
/// Twins that an export reads at a time: 9 MiB of rows if all are the largest, and usually 100 KiB.
pub const EXPORT_PAGE_TWINS: usize = 64;
/// Longest prefix of ids: that of the longest id.
pub const PREFIX_BYTES_MAX: usize = TWIN_ID_BYTES_MAX - 1;

/// How long a request that deletes a site waits for the end: less than what clients wait for an answer.
pub const SITE_REMOVAL_WAIT: Duration = Duration::from_secs(20);

/// Chunks of a backup between what reads the file and the connection. One is read while the next is sent.
pub const BACKUP_CHUNKS_MAX: usize = 2;
/// When to ask for a backup again while one is under way, or while there can be none.
pub const BACKUP_RETRY_AFTER: Duration = Duration::from_secs(10);
