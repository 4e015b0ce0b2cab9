//! The real process.
#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods, reason = "tests")]

mod batch;
mod begin_empty;
mod bulk;
mod by_hand;
mod ca_lost;
mod certificates;
mod certified;
mod compose;
mod dead_letters;
mod demo;
mod deployment;
mod dev;
mod door;
mod first_room;
mod first_start;
mod full_disk;
mod health;
mod keys;
mod odd_files;
mod process;
mod reconnect;
mod refusals;
mod replay;
mod replayed;
mod restored;
mod sealed;
mod siege;
mod simulator;
mod spans;
mod stall;
mod strangers;
mod supervisor;
mod traces;
