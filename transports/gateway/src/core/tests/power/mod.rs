//! The power goes at every call of the outbox to its disk.

mod cuts;
mod disk;
mod script;
mod witness;
