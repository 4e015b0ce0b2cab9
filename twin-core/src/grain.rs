//! The grain: a twin that is active in memory, and its turns, one command at a time.
//!
//! A grain works ahead of the log. It applies a command to its twin in memory, hands the changed rows to its
//! [`Owner`] and takes the next command at once, on top of what is still in flight; the answer leaves only when the owner
//! says that the rows are committed. If the owner refuses, everything the grain did since is worthless: the owner throws
//! the grain away (see the chain rule of the committer) and every waiting caller gets a retryable refusal.
//!
//! Whoever brings a command where the twin is loaded and nobody waits takes the grain's *seat* and carries the command out in
//! place ([`Turns`]): a batch of reports costs no message, no wake-up and no task switch per twin. Where it cannot be so, since the
//! twin must first be loaded or somebody else has his turn, the command waits as an [`Ask`] with the owner, whose actor carries
//! out what waits, in its order.
//!
//! **Invariants**
//! - One turn at a time: whoever takes a turn holds the seat, until what changed is given to the owner. So the owner gets
//!   the changes of a twin in the order of its turns.
//! - No answer and no event leaves before everything it rests on is committed. Answers without changes (reads, duplicates,
//!   refusals) therefore wait for the changes that were in flight when they were computed.
//!
//! That nobody overtakes is the owner's part: it lets nobody take the seat in place while a command waits.

mod ask;
mod done;
mod owner;
mod reply;
mod seat;
mod turns;

pub use ask::Ask;
pub use done::Done;
pub use owner::{Change, Owner, Ticket};
pub use reply::{Answers, Reply};
pub use seat::{Grain, SeatTaken};
pub use turns::Turns;

#[cfg(test)]
mod tests;
