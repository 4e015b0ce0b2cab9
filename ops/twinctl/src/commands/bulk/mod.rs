//! Many twins at once: `twinctl export`, `import` and `apply`.
//!
//! All three go on by themselves after a broken connection, from what they know to have arrived: [`patience`] says for how long.
//! [`mod@export`] writes a file, [`send`] reads one; [`lines`] reads lines in bounded memory, [`progress`] shows how far it is.

mod export;
mod lines;
mod patience;
mod progress;
mod send;

pub(crate) use export::export;
pub(crate) use send::{apply, import};
