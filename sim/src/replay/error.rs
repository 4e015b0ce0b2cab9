//! Why a replay ended before every row was acked.

use twin_core::ids::SiteId;
use twin_gateway::{OpenError, ReportError};

use super::belongs::StateError;
use super::recording_error::RecordingError;
use super::refused::Refused;
use crate::handled::HandledError;

/// Why a replay ended before every row was acked. What was reported is kept: run it again to go on.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The credentials are of another site.
    #[error("the credentials are of site {found}, --site says {asked}; a gateway speaks for its own site only")]
    OtherSite {
        /// The site of the credentials.
        found: SiteId,
        /// The site asked for.
        asked: SiteId,
    },
    /// A recording.
    #[error(transparent)]
    Recording(#[from] RecordingError),
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// What is noted of dead letters.
    #[error(transparent)]
    Handled(#[from] HandledError),
    /// The outbox.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row was not taken by the outbox.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// The disk of the outbox failed.
    #[error("the outbox cannot be written: {message}; mend the disk and run it again")]
    Disk {
        /// What happened.
        message: String,
    },
    /// The node will not have this gateway, and only a person can mend that.
    #[error("the node refuses this gateway ({code}): {message}")]
    GatewayRefused {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
    },
    /// Rows were refused for good.
    #[error(transparent)]
    RowsRefused(#[from] Refused),
    /// Told to stop.
    #[error("stopped at {acked} of {rows} rows acked ({reported} are in the outbox or further); run it again to go on")]
    Stopped {
        /// Rows of all recordings.
        rows: u64,
        /// Rows reported.
        reported: u64,
        /// Rows acked.
        acked: u64,
    },
}
