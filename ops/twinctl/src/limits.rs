//! Every bound of the command line, with its reason.

use std::time::Duration;

/// A node on the same continent answers a connect in far less; longer means that it isn't there.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest wait for an answer, on top of what a method call waits for its device.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest silence on an event stream. Nodes send a comment far more often, so that silence means a dead link.
pub(crate) const STREAM_SILENCE_MAX: Duration = Duration::from_secs(60);
/// Largest answer read into memory: a page of 1,000 twins of the largest size with their metadata.
pub(crate) const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest file or standard input taken as a body: the largest document is 72 KiB, white space included generously.
pub(crate) const INPUT_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long something that is to be read may say nothing before it is said that it is waited for.
pub(crate) const GIVEN_SILENCE_MAX: Duration = Duration::from_secs(1);
/// Largest token file: a token has well under 100 bytes.
pub(crate) const TOKEN_BYTES_MAX: u64 = 4 * 1024;
/// Longest life of a token, in seconds: the node's bound.
pub(crate) const TOKEN_LIFE_S_MAX: u64 = 316_224_000;
/// Largest server-sent event: a whole `reported` section in operations, with room.
pub(crate) const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest piece of an answer that isn't a problem body shown in an error.
pub(crate) const EXCERPT_CHARS_MAX: usize = 400;
/// First wait before a reconnect; doubles up to [`RECONNECT_DELAY_MAX`].
pub(crate) const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait before a reconnect.
pub(crate) const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);
/// Entries of the audit log asked for at once.
pub(crate) const PAGE_AUDIT_MAX: u64 = 1000;
/// Ids of a site's list sent at once: far below the largest body.
pub(crate) const DEVICES_SENT_MAX: usize = 4000;
/// Fewer twins than this are asked for by number; otherwise the server's own page size stands.
pub(crate) const PAGE_TWINS: u64 = 100;

/// Parts of an object that are sent and ranges that are read, in bytes: stores take no smaller parts than 5 MiB.
pub(crate) const STORE_PART_BYTES: usize = 8 * 1024 * 1024;
/// After so many parts they are twice as large: stores take 10,000 of an object, which are 480 GiB so.
pub(crate) const STORE_PARTS_OF_A_SIZE: usize = 2_000;
/// Largest part: three are in memory.
pub(crate) const STORE_PART_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Parts under way while the next is filled: one would leave the line idle between two.
pub(crate) const STORE_PARTS_IN_FLIGHT_MAX: usize = 2;
/// Largest answer of an object store: a range, with room for what a listing or an error has.
pub(crate) const STORE_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest time for one request to an object store: a part over a line of 1 Mbit/s takes 67 s.
pub(crate) const STORE_ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest time that an object store may take to begin its answer, once it has the request.
pub(crate) const STORE_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How often a request to an object store is tried again.
pub(crate) const STORE_RETRIES_MAX: usize = 5;
/// For how long it is: in the meantime the node's stream waits, which it does for no longer.
pub(crate) const STORE_RETRY_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest line of a file of twins, or of results: with all sections at their bounds and every character escaped it has half of this.
pub(crate) const BULK_LINE_BYTES_MAX: u64 = 1024 * 1024;
/// Items of one request: half of what a node takes before its results are read.
pub(crate) const BULK_SLICE_ITEMS_MAX: usize = 2_000;
/// Bytes of one request, of which the last line may be more: half of that as well.
pub(crate) const BULK_SLICE_BYTES_MAX: usize = 1024 * 1024;
/// Items that failed which are shown one by one; all of them are counted, and shown with --json.
pub(crate) const BULK_FAILURES_SHOWN_MAX: u64 = 20;
/// How long a bulk command goes on trying while nothing gets through: longer than a node takes to start again.
pub(crate) const BULK_PATIENCE: Duration = Duration::from_secs(120);

/// Clocks further apart mislead whoever compares timestamps; a second of it may be the answer's way.
pub(crate) const CLOCK_SKEW_S_MAX: u64 = 5;
/// A certificate that ends sooner should be replaced in time for every gateway to hear of it.
pub(crate) const CERTIFICATE_DAYS_MIN: i64 = 30;
/// Share of a budget from which on its end is near.
pub(crate) const BUDGET_SHARE_MAX: f64 = 0.8;
/// Share of commands that may be refused for want of budget, at bursts, without anybody minding.
pub(crate) const BUSY_SHARE_MAX: f64 = 0.01;
/// Free space below which a log at its budget and a checkpoint's copies may not fit any more.
pub(crate) const DISK_FREE_BYTES_MIN: f64 = 2e9;
/// A node that was started more recently may have been restarted by its supervisor.
pub(crate) const UPTIME_S_MIN: f64 = 300.0;
/// A session younger than this, of a gateway that runs for [`FLAP_UPTIME_MS_MIN`], is not its first.
pub(crate) const FLAP_CONNECTED_S_MAX: i64 = 60;
/// See [`FLAP_CONNECTED_S_MAX`].
pub(crate) const FLAP_UPTIME_MS_MIN: u64 = 10 * 60 * 1000;
/// Sessions an hour, for each gateway, beyond which gateways come and go.
pub(crate) const FLAP_SESSIONS_PER_HOUR_MAX: f64 = 6.0;
/// Names listed in a finding; the rest is counted.
pub(crate) const NAMES_LISTED_MAX: usize = 5;
/// Longest wait for each answer that the doctor wants: one that takes longer is a finding.
pub(crate) const LOOK_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest certificate file of a gateway that is read: a node takes no larger one.
pub(crate) const CERTIFICATE_BYTES_MAX: u64 = 64 * 1024;
/// Largest file of trusted certificates that is read; the bundles of systems have some 250 KiB.
pub(crate) const CA_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Age of a gateway's oldest message from which on somebody should look: at a healthy node messages leave within seconds.
pub(crate) const BACKLOG_AGE_MS_MAX: u64 = 60_000;
/// Charge of a gateway's battery below which its end is near.
pub(crate) const BATTERY_PERCENT_MIN: u8 = 20;
/// Share of packets that even mobile links lose without anybody minding.
pub(crate) const LOSS_SHARE_MAX: f64 = 0.05;
/// Fewer packets say nothing about a link.
pub(crate) const PACKETS_SENT_MIN: u64 = 200;
