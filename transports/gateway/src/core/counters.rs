//! What happened so far in this run.

/// Counts since the gateway was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages appended.
    pub appended: u64,
    /// Messages acked.
    pub acked: u64,
    /// Reports merged into a neighbour.
    pub coalesced: u64,
    /// Messages refused for good.
    pub dead_lettered: u64,
    /// Stays that were given up, as the node refused them for good: what they held are dead letters.
    pub stays_given_up: u64,
    /// Dead letters replayed.
    pub replayed: u64,
    /// Numbers that the node missed and the gateway had no more: declared lost.
    pub numbers_lost: u64,
    /// Messages sent, again or for the first time.
    pub sent: u64,
    /// Batches sent.
    pub batches: u64,
    /// Sessions opened.
    pub sessions: u64,
    /// Frames of an owner lower than one seen before: ignored.
    pub stale_owner_frames: u64,
    /// Method calls answered.
    pub calls: u64,
    /// Times that something was ready to be sent and the node had given no credit for it.
    pub credit_waits: u64,
}
