//! The replay of recordings: each CSV file is a device that reports its rows.
//!
//! [`recording::Recording`] checks a file; [`service::Replay`] feeds the rows into the outbox of a gateway and waits for the acks.
//! Rows and positions are one commit of the outbox, so a kill at any moment and a new start leave no row out and none twice.

mod belongs;
mod bounded_read;
mod columns;
mod error;
mod feed;
mod options;
mod progress;
mod rate;
mod recording;
mod recording_error;
mod refused;
mod row;
mod service;
mod spans;
mod watch;

pub use crate::handled::HandledError;
pub use belongs::StateError;
pub(crate) use belongs::is_replays;
pub use columns::TIMESTAMP;
pub use error::ReplayError;
pub use options::{ReplayOptions, state_dir_beside};
pub use progress::{Progress, Silent, Standing};
pub use rate::{Rate, RateError};
pub use recording::{Recording, Rows};
pub use recording_error::{RecordingError, Wrong};
pub use refused::Refused;
pub use row::Row;
pub use service::{Replay, Summary};
