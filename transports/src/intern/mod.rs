//! Twin ids and property paths as small numbers.
//!
//! A store's few thousand ids and few dozen paths come again and again; after the first time each costs one to three bytes.
//! Each stream has its own tables, which begin empty, so a reconnect needs no agreement on what the other side still knows.
//!
//! [`Splicer`] is the sending side: it makes batches of bodies that are encoded already, and keeps every bound of the receiving side.
//! [`InternReceiver`] is the receiving side: it takes additions within the bounds and turns messages into commands' parts.

mod receiver;
mod size;
mod splicer;

pub use receiver::{InternError, InternReceiver, Received, ReceivedState};
pub use size::path_weight_bytes;
pub use splicer::{PushError, Splicer, Stamp, Taken};
