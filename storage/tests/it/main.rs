//! The storage from outside: against openraft's own suite, against a model, across restarts.

#[allow(clippy::disallowed_methods)] // It measures time.
mod bench;
mod chain;
mod checkpoints;
mod failures;
mod model;
mod opening;
mod replica;
mod restart;
mod rounds;
mod snapshots;
mod suite;
mod world;
