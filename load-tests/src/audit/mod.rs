//! The auditor: kills node and gateways with SIGKILL at random moments under load, and counts what became of each report.
//!
//! The law that makes counting easy: each device reports `{"counter": n}` for n = 1, 2, 3 ..., and `reported.$version` is 1
//! when a twin is created and rises by exactly 1 per effective change. So whenever and however a twin is looked at,
//! `version - 1` is the number of reports that took effect, and
//!
//! - `version - 1 == counter`: less means that reports before this one are missing, more that some took effect twice;
//! - at the end `counter` is the last number that was promised, and all of them were acked;
//! - versions that one observer sees never go back.
//!
//! [`worker`] is a gateway process, which writes each promise and each ack to its [`journal`] at once; [`watch`] looks at the
//! twins over REST while nodes die; [`verdict`] compares; [`run()`] is the run itself.

mod counts;
mod gateway_process;
mod journal;
mod run;
mod verdict;
mod watch;
pub(crate) mod worker;

pub(crate) use run::run;

/// The site of the audit.
const SITE: &str = "audit";
