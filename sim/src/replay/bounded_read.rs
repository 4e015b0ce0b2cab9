//! A bound on what one row may pull into memory.

use std::io::{self, Read};

use crate::limits::{READ_BYTES, ROW_BYTES_MAX};

/// Reads on while no row takes more than [`ROW_BYTES_MAX`]. The CSV reader collects a row until its end, however far that is.
#[derive(Debug)]
pub(crate) struct BoundedRead<R> {
    inner: R,
    since_row_bytes: u64,
}

impl<R> BoundedRead<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, since_row_bytes: 0 }
    }

    /// A new row begins. Up to [`READ_BYTES`] of it were read with the one before.
    pub(crate) fn next_row(&mut self) {
        self.since_row_bytes = 0;
    }
}

impl<R: Read> Read for BoundedRead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.since_row_bytes >= ROW_BYTES_MAX {
            return Err(io::Error::other(RowTooLong));
        }
        let step = out.len().min(READ_BYTES);
        let read = self.inner.read(&mut out[..step])?;
        self.since_row_bytes += read as u64;
        Ok(read)
    }
}

/// A row has no end in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row has more than {ROW_BYTES_MAX} bytes; is a quote left open?")]
pub(crate) struct RowTooLong;
