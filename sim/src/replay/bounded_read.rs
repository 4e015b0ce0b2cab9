//! A bound on what one row may pull into memory.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::limits::{READ_BYTES, ROW_BYTES_MAX};

/// Reads on while no row takes more than [`ROW_BYTES_MAX`]. The CSV reader collects a row until its end, however far that is.
///
/// It also counts lines: the CSV reader's own count is behind after `\r\n` and blank lines, whose ends it passes only with the
/// row that follows.
#[derive(Debug)]
pub(crate) struct BoundedRead<R> {
    inner: R,
    since_row_bytes: u64,
    read_bytes: u64,
    /// Line ends (place, is it a line feed) from the row last asked for on: no more than a row and what is read ahead.
    ends: VecDeque<(u64, bool)>,
    /// Line ends before those.
    passed: u64,
}

impl<R> BoundedRead<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, since_row_bytes: 0, read_bytes: 0, ends: VecDeque::new(), passed: 0 }
    }

    /// A new row begins. Up to [`READ_BYTES`] of it were read with the one before.
    pub(crate) fn next_row(&mut self) {
        self.since_row_bytes = 0;
    }

    /// The line on which a row begins that the CSV reader begins at `byte`. To be asked in the order of the rows.
    pub(crate) fn line_at(&mut self, mut byte: u64) -> u64 {
        while let Some(&(at, line_feed)) = self.ends.front().filter(|(at, _)| *at <= byte) {
            self.ends.pop_front();
            // The two of `\r\n` are one end.
            let is_half = !line_feed && self.ends.front() == Some(&(at + 1, true));
            self.passed += u64::from(!is_half);
            // What the row begins with is the end of the one before, or a blank line.
            byte = byte.max(at + 1);
        }
        self.passed + 1
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
        for (byte, at) in out[..read].iter().zip(self.read_bytes..) {
            if matches!(byte, b'\r' | b'\n') {
                self.ends.push_back((at, *byte == b'\n'));
            }
        }
        self.read_bytes += read as u64;
        Ok(read)
    }
}

/// A row has no end in sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row has more than {ROW_BYTES_MAX} bytes; is a quote left open?")]
pub(crate) struct RowTooLong;
