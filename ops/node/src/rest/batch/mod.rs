//! `POST /api/v1/twins:batchUpdate`: any number of changes in one request, one JSON object a line, answered line by line
//! while the request is still being read.
//!
//! The way of an item: [`feed`] takes the body's chunks from actix, [`lines`] cuts them, [`item`] reads a line, [`pace`] says when it is
//! its turn, [`run`] gives it to its twin together with others, [`answers`] collects what becomes of them, [`stall`] waits where the core
//! is busy, [`window`] puts that back into order, and [`result`] writes it.
//!
//! **Invariant:** whatever a client sends or leaves unread, a batch holds at most its window: items that are not answered,
//! finished results that are not sent, and a few chunks. While the window is full nothing is read, which TCP tells the client.

mod answers;
mod feed;
mod handler;
mod item;
mod lines;
mod pace;
mod result;
mod run;
mod stall;
mod window;

pub(crate) use handler::*;
pub(crate) use pace::Pace;
