//! The real process.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, reason = "tests")]

mod batch;
mod demo;
mod dev;
mod first_start;
mod process;
mod reconnect;
mod refusals;
mod replay;
mod simulator;
mod spans;
mod traces;
