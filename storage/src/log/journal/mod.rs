//! The journal: what all groups' logs are on the disk, as frames appended to one file.
//!
//! `log.journal` begins with a header and goes on with *slots* of equal size. One slot is written at a time, frame behind frame;
//! when a frame does not fit, another slot begins: one in which nothing is of use any more, or a new one at the end of the file.
//! So the file is written in order, mostly over itself, and a durable round costs one write and one fsync. (As a B-tree's commit it
//! took several writes all over the file, and ten times as long.)
//!
//! - A slot begins with a frame that says all there is to know of every group but its entries ([`Roots`]). So the newest slot, and whichever
//!   others hold entries that are not purged, are all that counts.
//! - Frames are numbered. The log ends before the first frame that is missing or not whole.
//! - **Invariant:** nothing durable is ever taken for the torn end. A frame says up to which number all was durable when it was written;
//!   if one is found behind the end that says so of something missing, the file is damaged, and is refused.
//! - **Invariant:** what a crash left half-written is never taken for what came later in its place. Each opening has a number, made durable
//!   before its first frame; numbers of openings never fall from frame to frame.
//! - **Invariant:** a slot begins only when everything before it is durable, and is written over only when what it held is durably
//!   purged, truncated or elsewhere.
//! - A slot has its blocks on the disk from when it is made, where the file system can do that, and one unused slot is kept as a spare: so
//!   a log that has begun finds room for votes and barriers on a disk that has none.
//! - Frames begin at sectors, so that no write touches one in which there is something durable.
//!
//! **An end that is missing altogether** is nothing that the file shows: zeros with nothing behind them are what was never written. So each
//! checkpoint writes into `state.redb` which frame was durable then, and a journal that ends before that is refused, be it an older copy or
//! one whose end was overwritten. What was acknowledged behind the last checkpoint (a second's worth, after a kill; nothing, after a
//! stop) is in the journal alone, and if just that is overwritten with zeros, or an older copy lacks just that, it is missing without a
//! word. To know of it there would have to be a mark outside of the file for each round, durable: a second fsync each.

mod file;
mod frame;
mod header;
mod place;
mod recovery;
mod roots;

pub(crate) use file::Journal;
pub(super) use frame::{Frame, Kind};
pub(super) use place::Place;
pub(super) use recovery::Opened;
pub(super) use roots::Roots;
