//! How frames lie on a stream: a 4-byte big-endian length and that many bytes of MessagePack `[kind, body]`.
//!
//! Reading is bounded at every step: the length is checked against the limit before anything is allocated, the buffer grows
//! with the bytes that really arrive, and one walk ahead of serde (`skim.rs`: no recursion, no allocation) sees to it that
//! what serde sees afterwards is complete, not too deep and claims no more elements than there are bytes.

mod error;
mod frame;
pub mod pack;
mod reader;
mod skim;
mod writer;

pub use error::FrameError;
pub use frame::{Frame, UplinkFrame, decode, decode_datagram, decode_reading, decode_uplink, encode, encode_datagram};
pub use reader::FrameReader;
pub use writer::FrameWriter;
