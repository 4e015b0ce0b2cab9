//! A file whose writes wait for room on the disk, so that redb, which ends with the first error, never sees one that passes.
//!
//! [`WaitingFile`] is the backend that redb is given, [`Room`] whoever knows of the disk and is asked whether to wait, and [`Patience`]
//! how it waits. Nodes and gateways keep their data in such files.

mod file;
mod patience;

pub use file::{Room, WaitingFile};
pub use patience::Patience;
