//! The gateway against the real server of the transports, with twins in memory behind it.
#![allow(missing_docs, unreachable_pub)]

mod corpus;
mod crashes;
mod dead_letters;
mod desired;
mod disk_full;
mod health;
mod node;
mod readings;
mod refusals;
mod sessions;
mod silence;
mod updates;
