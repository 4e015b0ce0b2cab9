//! The cluster on real storage, without a transport: sessions are played by the tests.
#![allow(clippy::disallowed_methods, reason = "tests may use the clock")]

mod cost;
mod durability;
mod full_disk;
mod lives;
mod numbering;
mod once;
mod ownership;
mod removal;
mod world;
