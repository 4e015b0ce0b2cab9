//! Frames: what gateways and nodes say to each other.
//!
//! On a stream a frame is a 4-byte big-endian length and that many bytes of MessagePack: the array
//! `[kind, body]`. Bodies are arrays that only ever grow at the end ([`twin_core::wire`]). The protocol's
//! version is in the [`Hello`](session::Hello) and in the ALPN name; an unknown kind is skipped.
//!
//! | stream | opened by | carries |
//! |---|---|---|
//! | control | gateway, first | handshake, attach, desired changes down, method calls down |
//! | state | gateway | [`batch::StateBatch`] up, [`batch::BatchAck`] down |
//! | telemetry | gateway | [`batch::EventBatch`] up, [`batch::BatchAck`] down |
//! | alarms | gateway | [`batch::StateBatch`] of alarms up, [`batch::BatchAck`] down |
//! | readings | gateway | [`readings::Get`] up, [`readings::Views`] down |
//! | state, alarms, telemetry | | [`session::Credit`] down |
//! | datagrams | gateway | [`session::Heartbeat`], without acks |
//!
//! The first frame of every stream is [`session::Open`].

pub mod batch;
pub mod device;
pub mod health;
pub mod incoming;
pub mod readings;
mod record;
pub mod session;
