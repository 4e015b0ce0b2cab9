//! The whole state, driven one event at a time against a naive twin.

mod alarms;
mod cap;
mod chunks;
mod cost;
mod credit;
mod harness;
mod history;
mod promises;
