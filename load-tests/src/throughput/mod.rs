//! Durable reported updates per second, and how long an ack takes, through the SDK and QUIC.
//!
//! A closed loop: each gateway has a fixed number of updates under way; each is timed from the call of the SDK until its ack.
//! [`fleet`] loads, [`mod@slice`] is one measured stretch of it, [`figures`] sums up. Load and baselines alternate in the same run,
//! so that a machine that changes its mood changes both.

mod figures;
mod fleet;
mod run;
mod slice;

pub(crate) use run::{fleet_credentials, run};

/// The site of the load.
const SITE: &str = "load";
