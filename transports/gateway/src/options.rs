//! How a gateway is opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use twin_core::clock::{Clock, SystemClock};
use twin_transports::auth::Credentials;
use twin_transports::entropy::{Entropy, SystemEntropy};

use crate::limits::{OUTBOX_BYTES_MAX_DEFAULT, PATIENCE_MAX_DEFAULT};
use crate::outbox::disk::OutboxDisk;

/// Called with the span of each batch that is sent: gives the `traceparent` (W3C) to send with it if that span is sampled, so
/// that the node's spans become part of the same trace. The SDK itself knows no tracing backend.
pub type TraceBatch = Arc<dyn Fn(&tracing::Span) -> Option<String> + Send + Sync>;

/// How a gateway is opened. Make them with [`Options::new`] and change what you need.
#[derive(Clone)]
pub struct Options {
    /// The node, as `host:port`. The host is looked up for each connection, so that it may move.
    pub node: String,
    /// Who the gateway is.
    pub credentials: Credentials,
    /// Folder of the outbox (`outbox.redb`); made if it is missing. One gateway at a time.
    pub state_dir: PathBuf,
    /// Where the outbox file comes from, if not from that folder: tests put a disk there that fails.
    pub disk: Option<Arc<dyn OutboxDisk>>,
    /// Cap of the outbox, in bytes; at least [`crate::limits::OUTBOX_BYTES_MIN`].
    pub outbox_bytes_max: u64,
    /// May unsent reports of a device be merged near the cap?
    pub coalesce: bool,
    /// At the cap, and where the disk is full or the flash budget used up, do `report` and its like wait rather than fail?
    pub wait_at_cap: bool,
    /// May a message be sent while its append is on its way to the disk? It saves the time of an fsync, and where acks come soon the
    /// fsync. A message that a crash forgets may then have had its effect: `report_at` never uses it.
    pub send_before_durable: bool,
    /// How long `report` and its like wait at most for the ack of a node that is near but has much to do, before what they said is
    /// written to the outbox instead. Usually it is four times what acks take. Longer means fewer writes to flash under load, and
    /// that the promise takes as long as the ack does; shorter, that it takes a commit.
    pub patience_max: Duration,
    /// Bytes that may be written to the outbox file a day, for flash that wears out; `None`: as many as it takes. At least
    /// [`crate::limits::FLASH_BYTES_PER_DAY_MIN`].
    ///
    /// A day's bytes can be spent at once, and come back evenly over the day; so in any number of days no more is written than in one
    /// more day's budgets, but for what must be (below). What is left survives restarts, and time while the gateway is off does not
    /// count. Counted are the blocks that redb writes, not what the file system adds.
    ///
    /// - Once half of it is gone, commits become fewer: `report` and its like wait longer for the node's ack, which spares the write (up
    ///   to 10 s), without a link up to 1 s for others to share the commit; removals wait up to a minute; without a link unsent
    ///   reports of a device are merged, where `coalesce` allows it.
    /// - Once 7/8 are gone, state that would need a write is refused ([`crate::AppendError::FlashBudget`], with the time to try again).
    ///   What the node acks is still taken, as it needs none. The last eighth is for events; when it is gone, too, they are refused
    ///   likewise.
    /// - Nothing is dropped, and what was promised stays. What must be written for that (removals, dead letters, what was on its way when
    ///   the link went) is written, and paid back before anything new is taken.
    pub flash_bytes_per_day: Option<u64>,
    /// How long [`crate::Gateway::shutdown`] waits for the outbox to drain.
    pub drain_timeout: Duration,
    /// Name and version of the software, for people. At most 128 bytes.
    pub agent: String,
    /// Traces batches from being sent to being acknowledged; `None`: no spans are made.
    pub trace_batch: Option<TraceBatch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

impl Options {
    /// The usual ones.
    pub fn new(node: impl Into<String>, credentials: Credentials, state_dir: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            credentials,
            state_dir: state_dir.into(),
            disk: None,
            outbox_bytes_max: OUTBOX_BYTES_MAX_DEFAULT,
            coalesce: true,
            wait_at_cap: false,
            send_before_durable: true,
            patience_max: PATIENCE_MAX_DEFAULT,
            flash_bytes_per_day: None,
            drain_timeout: Duration::from_secs(5),
            agent: concat!("twin-gateway/", env!("CARGO_PKG_VERSION")).to_owned(),
            trace_batch: None,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("node", &self.node)
            .field("credentials", &self.credentials)
            .field("state_dir", &self.state_dir)
            .field("outbox_bytes_max", &self.outbox_bytes_max)
            .field("coalesce", &self.coalesce)
            .field("wait_at_cap", &self.wait_at_cap)
            .finish_non_exhaustive()
    }
}
