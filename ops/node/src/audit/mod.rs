//! Who changed what, and who was turned away: JSON lines in the folder `audit` of the data directory.
//!
//! There are three series of files, each bounded by itself, so that none can push out another:
//!
//! - **changes**: of sites, gateways, tokens and whatever else needs scope `operate`. Each leaves two lines: one *before* it is
//!   carried out, on the disk, and one with its outcome before it is answered. Where the first cannot be written the change is refused:
//!   what happens to the cluster's credentials is never unseen. (A disk that is full refuses the change itself, too.)
//! - **steering**: of twins, one line for each request, whatever the number of twins in it. It is with the system before the answer,
//!   so that it survives kill -9, and on the disk a second later: steering costs no fsync of its own. Where it cannot be written the
//!   steering goes on, and the line is counted as lost: a log must not stop prices.
//! - **security**: credentials refused, scopes exceeded, one credential used twice, devices that nobody knows. The first of its kind
//!   and source is written at once; those that follow within a minute are counted and written as one line, and beyond some sources
//!   as one line for all others. So however much an attacker tries, the series takes half a day to turn over.
//!
//! [`file`] is a series, [`writer`] the one thread that writes, [`read`] reads back, newest first; [`watch`] is what gathers the
//! security events.

mod file;
mod line;
mod losses;
mod read;
mod watch;
mod writer;

pub(crate) use line::{Kind, Line, Record};
pub(crate) use watch::{Event, Watch};
pub(crate) use writer::{Audit, AuditError};

/// The folder in the data directory.
pub(crate) const AUDIT_DIR: &str = "audit";
