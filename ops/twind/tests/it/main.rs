//! The real process.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, reason = "tests")]

mod demo;
mod dev;
mod process;
mod refusals;
mod replay;
mod simulator;
mod traces;
