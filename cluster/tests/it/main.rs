//! The cluster on real storage. Sessions are played by the tests, but in `slow_disk`, where they are real.
#![allow(clippy::disallowed_methods, reason = "tests may use the clock")]

mod activation;
mod cost;
mod durability;
mod faulty_disk;
mod full_disk;
mod lives;
mod numbering;
mod once;
mod ownership;
mod power;
mod removal;
mod slow_disk;
mod urgent;
mod world;
