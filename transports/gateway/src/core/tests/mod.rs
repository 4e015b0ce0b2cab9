//! The whole state, driven one event at a time against a naive twin.

mod cap;
mod chunks;
mod cost;
mod dead_letters;
mod flash;
mod harness;
mod history;
mod power;
mod promises;
