//! Every bound of the file, with its reason.

/// Largest payload of a frame: a chunk of rows has 256 KiB and one row more, and the largest row some 100 KiB.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest name of a file in a backup.
pub const FILE_NAME_BYTES_MAX: usize = 64;
