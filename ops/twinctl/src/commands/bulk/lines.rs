//! Lines of a file or an answer, in bounded memory.

use std::io::{self, BufRead, Read};

use crate::limits::BULK_LINE_BYTES_MAX;

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// With its end.
    Whole(Vec<u8>),
    /// Without an end: the last one.
    Torn(Vec<u8>),
    /// Nothing more.
    End,
}

/// The next line. One that is longer than any the node takes is an error.
pub(super) fn next(reader: &mut impl BufRead) -> io::Result<Line> {
    let mut line = Vec::new();
    reader.by_ref().take(BULK_LINE_BYTES_MAX + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(Line::End);
    }
    if line.last() == Some(&b'\n') {
        return Ok(Line::Whole(line));
    }
    if line.len() as u64 > BULK_LINE_BYTES_MAX {
        let message = format!("a line has more than {BULK_LINE_BYTES_MAX} bytes, no twin is that large");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    Ok(Line::Torn(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_by_one_and_none_is_read_without_end() {
        let mut reader = io::BufReader::new(&b"a\n\nb"[..]);
        let mut read = || next(&mut reader).unwrap();
        assert_eq!([read(), read()], [Line::Whole(b"a\n".to_vec()), Line::Whole(b"\n".to_vec())]);
        assert_eq!([read(), read()], [Line::Torn(b"b".to_vec()), Line::End]);
        let endless = next(&mut io::BufReader::new(io::repeat(b'x')));
        assert!(endless.unwrap_err().to_string().contains("no twin is that large"));
    }
}
