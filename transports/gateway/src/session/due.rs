//! Answers of the node that are due, across the streams of a session.
//!
//! QUIC acknowledges what it delivered; whether the node then dies before it has done anything, only its answer tells. So whoever
//! waits for one must ask from time to time, or a node that was killed and is back is noticed at the next heartbeat.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Requests (batches, attach, detach, get) and answers of one session.
#[derive(Debug, Default)]
pub(crate) struct Due {
    asked: AtomicU64,
    answered: AtomicU64,
    sent: Notify,
}

impl Due {
    /// Something was sent that no answer is due to.
    pub(crate) fn sent(&self) {
        self.sent.notify_one();
    }

    /// So many requests were sent.
    pub(crate) fn asked(&self, requests: u64) {
        self.asked.fetch_add(requests, Ordering::Relaxed);
        self.sent();
    }

    /// One was answered.
    pub(crate) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers so far, and whether more are due.
    pub(crate) fn look(&self) -> (u64, bool) {
        let answered = self.answered.load(Ordering::Relaxed);
        (answered, self.asked.load(Ordering::Relaxed) > answered)
    }

    /// Waits until something is sent.
    pub(crate) async fn something_sent(&self) {
        self.sent.notified().await;
    }
}
