//! The transport against a real endpoint on loopback, with a small backend that records what reaches it.

#![allow(clippy::disallowed_methods, reason = "tests may use the clock")]
#![allow(clippy::cast_possible_wrap, reason = "small numbers")]

mod backend;
mod batcher;
mod batches;
mod by_certificate;
mod codec;
mod control;
mod corpus;
mod credit;
mod desired;
mod desired_many;
mod gateway;
mod handshake;
mod hostile;
mod interning;
mod node_cost;
mod readings;
mod restart;
mod server;
mod wire_size;
