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
/// Largest token file: a token has well under 100 bytes.
pub(crate) const TOKEN_BYTES_MAX: u64 = 4 * 1024;
/// Largest server-sent event: a whole `reported` section in operations, with room.
pub(crate) const EVENT_BYTES_MAX: usize = 1024 * 1024;
/// Longest piece of an answer that isn't a problem body shown in an error.
pub(crate) const EXCERPT_CHARS_MAX: usize = 400;
/// First wait before a reconnect; doubles up to [`RECONNECT_DELAY_MAX`].
pub(crate) const RECONNECT_DELAY_FIRST: Duration = Duration::from_millis(250);
/// Longest wait before a reconnect.
pub(crate) const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(10);
/// Fewer twins than this are asked for by number; otherwise the server's own page size stands.
pub(crate) const PAGE_TWINS: u64 = 100;
