//! Files that are configuration, and files that must be files: looked at before they are read, bounded, and never waited for.
//!
//! A pipe in the place of a file would stop whoever opens it until somebody writes into it, and a device may never end. What stands in
//! a data directory is read with [`read_small_file`]; what somebody names on a command line with [`read_given_text`], as a shell's
//! `<(...)` is a pipe; [`check_regular`] is for what is too large for either.

mod read;

pub use read::{
    SmallFileError, check_regular, open_regular, read_given_file, read_given_text, read_small_file, read_small_text,
};
