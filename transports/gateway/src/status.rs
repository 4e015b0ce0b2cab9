//! How a gateway is.

use twin_core::numbers::{Boot, OutboxId};

pub use crate::core::counters::Counters;

/// A gateway's status at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// Is a session open?
    pub connected: bool,
    /// Its number on the node.
    pub session: Option<u64>,
    /// Code and message of the last refusal of a session, until one is open.
    pub refusal: Option<(String, String)>,
    /// Code and message of the last thing that the node wanted its people to know (`credential-conflict`: these credentials are used
    /// elsewhere, too), in this run.
    pub notice: Option<(String, String)>,
    /// Why the last session or attempt ended (no route, a certificate that is not trusted, a refusal), until one is open.
    pub failure: Option<String>,
    /// Identity of the outbox.
    pub outbox: OutboxId,
    /// Its boot.
    pub boot: Boot,
    /// Messages in the outbox: not acked yet.
    pub backlog_messages: u64,
    /// What they count against the cap.
    pub backlog_bytes: u64,
    /// The cap.
    pub backlog_bytes_max: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Dead letters dropped for room, ever.
    pub dead_letters_dropped: u64,
    /// Dead letters ever: the next one's [number](crate::DeadLetterId::number) is one higher.
    pub dead_letters_ever: u64,
    /// Devices known.
    pub devices: u64,
    /// Devices attached in this session.
    pub attached: u64,
    /// Devices that another gateway attached later; see [`crate::TwinLink::Conflict`].
    pub conflicts: u64,
    /// Devices that the node does not know; their messages wait.
    pub unregistered: u64,
    /// Why the outbox cannot be written, if so.
    pub disk_failure: Option<String>,
    /// Does the outbox wait for room on its disk?
    pub disk_full: bool,
    /// Bytes written to the outbox file in this run, in blocks of 4 KiB: what it costs of the flash's life, before what the file system
    /// adds.
    pub flash_written_bytes: u64,
    /// What is left of the flash budget; `None`: there is none.
    pub flash_left_bytes: Option<u64>,
    /// What happened so far in this run.
    pub counters: Counters,
    /// Alarms in the outbox: not acked yet.
    pub backlog_alarms: u64,
    /// What the node still lets this gateway send; `None`: there is no session, or its node gives no credit.
    pub credit: Option<CreditLeft>,
}

/// What is left of a session's credit, in bytes by [`twin_transports::credit::cost`]. Nothing left of state for long means that the node
/// is full: messages wait in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreditLeft {
    /// For state.
    pub state_bytes: u64,
    /// For events.
    pub event_bytes: u64,
    /// For alarms: a share of its own.
    pub alarm_bytes: u64,
}
