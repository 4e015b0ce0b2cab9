//! Cuts a stream of chunks into lines, in bounded memory.

use actix_web::web::Bytes;

/// What some editors and spreadsheets write before UTF-8: no part of the first line.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// A line of the body, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// As it was sent.
    Whole(Bytes),
    /// Longer than the bound; only its length in bytes was kept.
    TooLong(u64),
}

/// What has arrived and is not handed out yet: the rest of one chunk, and the beginning of a line from chunks before it.
#[derive(Debug)]
pub(super) struct Lines {
    chunk: Bytes,
    begun: Vec<u8>,
    /// Bytes of a line that is too long, all of them skipped.
    skipped: u64,
    number: u64,
    line_bytes_max: usize,
}

impl Lines {
    pub(super) fn new(line_bytes_max: usize) -> Self {
        Self { chunk: Bytes::new(), begun: Vec::new(), skipped: 0, number: 0, line_bytes_max }
    }

    /// More of the body. Only once [`Lines::next`] has nothing more.
    pub(super) fn push(&mut self, chunk: Bytes) {
        debug_assert!(self.chunk.is_empty(), "the chunk before is used up first");
        self.chunk = chunk;
    }

    /// Is there something that [`Lines::next`] has not looked at?
    pub(super) fn has_more(&self) -> bool {
        !self.chunk.is_empty()
    }

    /// The next line that has ended, and its number from 1.
    pub(super) fn next(&mut self) -> Option<(u64, Line)> {
        let Some(end) = memchr::memchr(b'\n', &self.chunk) else {
            let rest = std::mem::take(&mut self.chunk);
            self.keep(&rest);
            return None;
        };
        let mut here = self.chunk.split_to(end + 1).slice(..end);
        self.number += 1;
        if self.number == 1 && self.begun.is_empty() && here.starts_with(BYTE_ORDER_MARK) {
            here = here.slice(BYTE_ORDER_MARK.len()..);
        }
        if self.skipped == 0 && self.begun.is_empty() && here.len() <= self.line_bytes_max {
            return Some((self.number, Line::Whole(here)));
        }
        self.keep(&here);
        Some((self.number, self.take()))
    }

    /// What stands behind the last line end, if anything: only once [`Lines::next`] has nothing more.
    pub(super) fn last(&mut self) -> Option<(u64, Line)> {
        if self.begun.is_empty() && self.skipped == 0 {
            return None;
        }
        self.number += 1;
        Some((self.number, self.take()))
    }

    fn keep(&mut self, part: &[u8]) {
        if self.skipped > 0 || self.begun.len() + part.len() > self.line_bytes_max {
            self.skipped += (self.begun.len() + part.len()) as u64;
            self.begun = Vec::new();
        } else {
            self.begun.extend_from_slice(part);
        }
    }

    fn take(&mut self) -> Line {
        match std::mem::take(&mut self.skipped) {
            0 => {
                let whole = Bytes::from(std::mem::take(&mut self.begun));
                let is_marked = self.number == 1 && whole.starts_with(BYTE_ORDER_MARK);
                Line::Whole(if is_marked { whole.slice(BYTE_ORDER_MARK.len()..) } else { whole })
            }
            bytes => Line::TooLong(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(chunks: &[&str]) -> Vec<(u64, Result<String, u64>)> {
        let mut lines = Lines::new(8);
        let mut cut = Vec::new();
        let shown = |(number, line)| match line {
            Line::Whole(bytes) => (number, Ok(String::from_utf8(bytes.to_vec()).unwrap())),
            Line::TooLong(bytes) => (number, Err(bytes)),
        };
        for chunk in chunks {
            lines.push(Bytes::copy_from_slice(chunk.as_bytes()));
            while let Some(line) = lines.next() {
                cut.push(shown(line));
            }
            assert!(lines.begun.len() <= 8);
        }
        cut.extend(lines.last().map(shown));
        cut
    }

    #[test]
    fn lines_are_the_same_however_they_are_cut_into_chunks() {
        let text = "one\n\ntwo\r\nexactly8\nninebytes\nand much more than that\n{}\nlast";
        let whole = cut(&[text]);
        let ok = |text: &str| Ok(text.to_owned());
        assert_eq!(
            whole,
            [
                (1, ok("one")),
                (2, ok("")),
                (3, ok("two\r")),
                (4, ok("exactly8")),
                (5, Err(9)),
                (6, Err(23)),
                (7, ok("{}")),
                (8, ok("last")),
            ]
        );
        for at in 1..text.len() {
            assert_eq!(cut(&[&text[..at], &text[at..]]), whole, "cut at {at}");
        }
        let bytes: Vec<&str> = (0..text.len()).map(|at| &text[at..=at]).collect();
        assert_eq!(cut(&bytes), whole);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line_however_it_is_cut() {
        for chunks in [&["\u{feff}a\n\u{feff}b"][..], &["\u{feff}a", "\n", "\u{feff}b"], &["\u{feff}", "a\n\u{feff}b"]]
        {
            assert_eq!(cut(chunks), [(1, Ok("a".to_owned())), (2, Ok("\u{feff}b".to_owned()))]);
        }
        assert_eq!(cut(&["\u{feff}"]), [(1, Ok(String::new()))]);
    }

    #[test]
    fn a_body_that_ends_with_a_line_end_has_no_last_line() {
        assert_eq!(cut(&["a\n"]).len(), 1);
        assert_eq!(cut(&[""]).len(), 0);
        assert_eq!(cut(&["123456789"]), [(1, Err(9))]);
    }
}
