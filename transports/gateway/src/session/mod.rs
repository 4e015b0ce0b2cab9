//! The session with the node.
//!
//! [`connect`] keeps one open, with pauses between attempts ([`pause`]); [`handshake`] says who we are; then a few loops run
//! until one ends ([`open`]): [`uplink`] (state and events), [`readings`], [`control`] (attach and what else goes up on the
//! control stream), [`downlink`] (what comes down on it) and [`heartbeat`]. A node that goes silent meanwhile ([`liveness`]) gets a second
//! connection beside the first ([`replacement`]); [`retry`] says when to try again, and for how long, and [`renewal`] which
//! credentials with.

pub(crate) mod connect;
mod control;
mod downlink;
mod due;
mod end;
mod handshake;
mod heartbeat;
mod liveness;
mod open;
mod pause;
mod readings;
mod renewal;
mod replacement;
mod retry;
mod uplink;
