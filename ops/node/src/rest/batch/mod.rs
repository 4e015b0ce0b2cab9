//! Any number of items in one request, one JSON object a line, answered line by line while the request is still being read:
//! [`update`] steers twins, [`get`] reads them, [`import`] makes or replaces them.
//!
//! The way of an item: [`feed`] takes the body's chunks from actix, [`lines`] cuts them, its [`job`] reads a line (with [`item`]),
//! [`pace`] says when it is its turn, [`run`] gives it to its twin together with others, [`answers`] collects what becomes of them,
//! [`stall`] waits where the core is busy, [`window`] puts that back into order, [`result`] and the job write it, and [`tally`] says what
//! the batch came to.
//!
//! **Invariant:** whatever a client sends or leaves unread, a batch holds at most its window: items that are not answered,
//! finished results that are not sent, and a few chunks. While the window is full nothing is read, which TCP tells the client.

mod answers;
mod feed;
mod get;
mod import;
mod item;
mod job;
mod lines;
mod open;
mod pace;
mod result;
mod run;
mod stall;
mod tally;
mod update;
mod window;

pub(crate) use get::*;
pub(crate) use import::*;
pub(crate) use open::streamed;
pub(crate) use pace::Pace;
pub(crate) use update::*;
