//! The grain: one ractor actor per active twin, one command at a time.
//!
//! A grain works ahead of the log. It applies a command to its twin in memory, hands the changed rows to its
//! [`Owner`] and takes the next command at once, on top of what is still in flight; the answer leaves only when the owner
//! says that the rows are committed. If the owner refuses, everything the grain did since is worthless: the owner throws
//! the grain away (see the chain rule of the committer) and every waiting caller gets a retryable refusal.
//!
//! A command takes its *turn* in one of two ways. The actor takes it out of its mailbox; so it is where the twin must first
//! be loaded, or somebody else has his turn. Or, where the twin is loaded and nobody waits, whoever brings the command takes
//! the grain's *seat* and carries it out in place ([`Turns`]): a batch of reports costs no message, no wake-up and no task
//! switch per twin.
//!
//! **Invariants**
//! - One turn at a time: whoever takes a turn holds the seat, until what changed is given to the owner. So the owner gets
//!   the changes of a twin in the order of its turns.
//! - Nobody overtakes: the seat is taken in place only while the mailbox is empty.
//! - No answer and no event leaves before everything it rests on is committed. Answers without changes (reads, duplicates,
//!   refusals) therefore wait for the changes that were in flight when they were computed.

mod actor;
mod done;
mod owner;
mod reply;
mod seat;
mod turns;

pub use actor::{Ask, GrainActor, Message};
pub use done::Done;
pub use owner::{Change, Owner, Ticket};
pub use reply::{Answers, Reply};
pub use seat::{Grain, SeatTaken};
pub use turns::Turns;

#[cfg(test)]
mod tests;
