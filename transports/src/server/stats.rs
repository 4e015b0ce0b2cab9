//! What the transport counts. Plain atomics; the node turns them into metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::refuse::RefusalCode;

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number of things that are there now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub(super) fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counted by a gauge until dropped.
pub(super) struct Inside<'a>(&'a Gauge);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters of one server.
#[derive(Debug, Default)]
pub struct TransportStats {
    /// Connections accepted by QUIC, authenticated or not.
    pub connections: Counter,
    /// Connections that were asked to show that they receive at their address, while many had not authenticated.
    pub retries: Counter,
    /// Connections open now.
    pub connections_open: Gauge,
    /// Sessions opened.
    pub sessions: Counter,
    /// Of them, those that were opened by a certificate.
    pub sessions_by_certificate: Counter,
    /// Sessions open now.
    pub sessions_open: Gauge,
    /// Frames received.
    pub frames_received: Counter,
    /// Bytes of frames received.
    pub bytes_received: Counter,
    /// Frames of unknown kinds that were skipped.
    pub frames_skipped: Counter,
    /// Frames sent.
    pub frames_sent: Counter,
    /// Frames that could not be sent because they would be longer than the limit.
    pub frames_unsendable: Counter,
    /// Batches received, of all classes.
    pub batches: Counter,
    /// Messages in them.
    pub messages: Counter,
    /// Alarms in them.
    pub alarms: Counter,
    /// Messages that had been taken before: sent again, or replayed.
    pub messages_duplicate: Counter,
    /// Messages refused, by any code.
    pub messages_refused: Counter,
    /// Batches acknowledged.
    pub acks: Counter,
    /// Heartbeats received.
    pub heartbeats: Counter,
    /// Desired changes sent down.
    pub desired_sent: Counter,
    /// Method calls sent down.
    pub calls_sent: Counter,
    /// Times that a stream had used all its credit and got none with its last answer.
    pub credit_withheld: Counter,
    /// Credit given later, in a frame of its own.
    pub credit_frames: Counter,
    refusals: [Counter; RefusalCode::ALL.len()],
}

impl TransportStats {
    pub(super) fn count_refusal(&self, code: RefusalCode) {
        self.refusals[code as usize].add(1);
    }

    /// Connections and sessions refused or ended with this code.
    pub fn refused(&self, code: RefusalCode) -> u64 {
        self.refusals[code as usize].get()
    }

    /// All codes with their counts.
    pub fn refusals(&self) -> impl Iterator<Item = (RefusalCode, u64)> + '_ {
        RefusalCode::ALL.iter().map(|code| (*code, self.refused(*code)))
    }
}
