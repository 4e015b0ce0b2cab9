//! The storage from outside: against openraft's own suite, against a model, across restarts.

mod backups;
mod chain;
mod checkpoints;
mod corpus;
mod damaged_pages;
mod disk_full;
mod failures;
mod faulty_disk;
mod model;
mod opening;
mod power;
mod replica;
mod restart;
mod rolled_back;
mod rounds;
mod sealed;
mod snapshots;
mod suite;
mod world;
