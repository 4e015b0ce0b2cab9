//! The storage from outside: against openraft's own suite, against a model, across restarts.

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
