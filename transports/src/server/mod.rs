//! The node's side: accepts connections, authenticates gateways and runs their sessions over a [`Backend`].
//!
//! [`ServerOptions`] -> [`Server`] -> [`ServerHandle`]. A connection has [`crate::limits::HANDSHAKE_TIMEOUT`] to become a session; until the
//! proof is verified it may send frames of 4 KiB on one stream and nothing else. A session is a handful of tasks: the control stream's
//! reader and writer, one task per further stream, the heartbeats, and the fetching of desired changes. They share an ending, which is reached
//! once, for the first reason given; every reason has a code, is told to the gateway, and is counted.

mod accept;
mod attached;
mod backend;
mod clip;
mod collector;
mod control;
mod crediting;
mod delivered;
mod deltas;
mod downlink;
mod ending;
mod handshake;
mod options;
mod outgoing;
mod places;
mod readings;
mod session;
mod stats;
mod uplink;
mod weight;

pub use accept::{Server, ServerError, ServerHandle};
pub use backend::{Backend, Downlink, GatewayCredential, SessionGrant, Submission, VerifiedHello};
pub use options::{OnTraceparent, ServerOptions};
pub use stats::{Counter, Gauge, TransportStats};
