//! The whole state, driven one event at a time against a naive twin.

mod alarms;
mod cap;
mod chunks;
mod corpus;
mod cost;
mod credit;
mod dead_letters;
mod flash;
mod harness;
mod history;
mod power;
mod promises;
mod told;
