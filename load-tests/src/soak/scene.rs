//! What all clients of a soak share: where the node is, what they count, and when it is over.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::RngExt as _;
use tokio::sync::watch;

use crate::document::Documents;
use crate::measure::Latencies;
use crate::rest::Rest;

/// Unexpected answers that are told in words.
const TOLD_MAX: usize = 5;

/// What the clients did.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Reports that were due.
    pub(super) due: AtomicU64,
    /// Reports that were acked.
    pub(super) acked: AtomicU64,
    /// Reports that nobody could take: no gateway was there, or it was too far behind.
    pub(super) skipped: AtomicU64,
    /// Desired changes that devices took over.
    pub(super) applied: AtomicU64,
    /// Times that a reporting gateway came.
    pub(super) visits: AtomicU64,
    /// Of them, under a new name.
    pub(super) new_names: AtomicU64,
    /// Sessions of those that pass by.
    pub(super) passed: AtomicU64,
    /// Of them, those that went without a word.
    pub(super) vanished: AtomicU64,
    /// Twins made and deleted, by attaching and over REST.
    pub(super) twins_made: AtomicU64,
    pub(super) twins_deleted: AtomicU64,
    /// REST requests by single clients; answers that said 4xx or 503.
    pub(super) requests: AtomicU64,
    pub(super) refused: AtomicU64,
    /// REST clients that came, and those that left in the middle of a request.
    pub(super) clients: AtomicU64,
    pub(super) broken_off: AtomicU64,
    /// Event streams that were opened, and events on them.
    pub(super) streams: AtomicU64,
    pub(super) events: AtomicU64,
    /// Items of batches and exports.
    pub(super) items: AtomicU64,
    /// What must not happen.
    pub(super) unexpected: AtomicU64,
    told: Mutex<Vec<String>>,
    /// From when a report was due to its ack.
    pub(super) acks: Mutex<Latencies>,
}

impl Tally {
    pub(super) fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(count: &AtomicU64) -> u64 {
        count.load(Ordering::Relaxed)
    }

    /// Something happened that must not.
    pub(super) fn unexpected(&self, what: impl FnOnce() -> String) {
        if self.unexpected.fetch_add(1, Ordering::Relaxed) < TOLD_MAX as u64 {
            self.told.lock().push(what());
        }
    }

    /// The first few of it.
    pub(super) fn told(&self) -> Vec<String> {
        self.told.lock().clone()
    }
}

/// The stage of a soak.
pub(super) struct Scene {
    pub(super) quic: SocketAddr,
    pub(super) http: SocketAddr,
    pub(super) rest: Rest,
    pub(super) dir: PathBuf,
    pub(super) documents: Arc<Documents>,
    /// Devices of each reporting gateway.
    pub(super) devices: u32,
    /// Seeded twins, used now and then.
    pub(super) registered: u64,
    /// What the ids of the devices of each place begin with at the moment; empty: there is none.
    pub(super) prefixes: Vec<Mutex<String>>,
    pub(super) tally: Tally,
    pub(super) over: watch::Receiver<bool>,
}

impl Scene {
    /// Must everybody go?
    pub(super) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until it is over.
    pub(super) async fn ended(&self) {
        // An error: whoever would say so is gone.
        drop(self.over.clone().wait_for(|over| *over).await);
    }

    /// Waits so long, less if it is over: `true`.
    pub(super) async fn pause(&self, lasting: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(lasting) => self.is_over(),
            () = self.ended() => true,
        }
    }

    /// As [`Scene::pause`] for a thread: in steps.
    pub(super) fn rest_a_while(&self, lasting: Duration) -> bool {
        const STEP: Duration = Duration::from_millis(50);
        let until = std::time::Instant::now() + lasting;
        while !self.is_over() {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::sleep(left.min(STEP));
        }
        true
    }

    /// The device of a place that is there at the moment.
    pub(super) fn some_device(&self) -> Option<String> {
        let mut random = rand::rng();
        let prefix = self.prefixes[random.random_range(0..self.prefixes.len())].lock().clone();
        (!prefix.is_empty()).then(|| format!("{prefix}{}", random.random_range(0..self.devices)))
    }

    /// A twin that is used now and then.
    pub(super) fn some_registered(&self) -> String {
        crate::seeded::seeded_id(rand::rng().random_range(0..self.registered))
    }
}

/// Some time between the two, in milliseconds.
pub(super) fn between_ms(from: u64, to: u64) -> Duration {
    Duration::from_millis(rand::rng().random_range(from..=to))
}
