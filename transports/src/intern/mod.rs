//! Twin ids and property paths as small numbers.
//!
//! A store's few thousand ids and few dozen paths come again and again; after the first time each costs one to three bytes.
//! Each stream has its own tables, which begin empty, so a reconnect needs no agreement on what the other side still knows.
//!
//! [`StateBatcher`] and [`EventBatcher`] are the sending side: they make batches that keep every bound of the receiving side.
//! [`Splicer`] makes the same batches from bodies that were encoded before, by whoever keeps them.
//! [`InternReceiver`] is the receiving side: it takes additions within the bounds and turns messages into commands' parts.

mod batcher;
mod receiver;
mod size;
mod splicer;
mod tables;

pub use batcher::{EventBatcher, PushError, StateBatcher};
pub use receiver::{InternError, InternReceiver, Received, ReceivedState};
pub use size::path_weight_bytes;
pub use splicer::{Splicer, Stamp, Taken};
