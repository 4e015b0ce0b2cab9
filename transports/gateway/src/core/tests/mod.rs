//! The whole state, driven one event at a time against a naive twin.

mod cap;
mod harness;
mod history;
