//! Whose rows the dead letters are. The outbox keeps the letters of everything that was ever replayed from a state folder, so
//! the folder also says from which letter on they are of which recording.
//!
//! **Invariant:** a recording's span begins before its first row is in the outbox, and after the node settled every row of
//! those before it. Letters are buried, dropped and counted in one order, so a span is two numbers.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::belongs::StateError;
use crate::state_file;

/// The file in the state folder.
const FILE: &str = "letters.json";

/// Letters from before the device's first span: of whatever was replayed by a release that kept none.
const UNKNOWN: &str = "";

/// Letters from here on, up to the device's next span, are of this recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    source: String,
    /// How many letters had ever been buried, of all devices.
    from_letter: u64,
    /// How far the recording was. As long as it is there, nothing was reported in this span.
    from_row: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    devices: BTreeMap<String, Vec<Span>>,
}

const VERSION: u32 = 1;

/// How a recording stands when a run begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begin<'a> {
    pub(super) device: &'a str,
    pub(super) source: &'a str,
    /// Rows reported by runs before; `None`: it is new.
    pub(super) done: Option<u64>,
    /// Rows in the file.
    pub(super) rows: u64,
}

/// The spans of each device, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Spans(BTreeMap<String, Vec<Span>>);

impl Spans {
    pub(super) fn load(folder: &Path) -> Result<Self, StateError> {
        let path = folder.join(FILE);
        let note = |message: String| StateError::Note { path: path.clone(), message };
        let bytes = match state_file::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(StateError::Folder { path: folder.to_owned(), source }),
        };
        let written: Written = serde_json::from_slice(&bytes).map_err(|error| note(error.to_string()))?;
        if written.version != VERSION {
            return Err(note(format!("version {}, this release writes {VERSION}", written.version)));
        }
        Ok(Self(written.devices))
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::Folder { path: folder.to_owned(), source };
        let written = Written { version: VERSION, devices: self.0.clone() };
        let bytes = serde_json::to_vec(&written).map_err(|error| failed(error.into()))?;
        state_file::write(folder, FILE, &bytes).map_err(failed)
    }

    /// Must a span be opened for this recording before a row of it is reported?
    pub(super) fn wants(&self, begin: Begin<'_>) -> bool {
        let done = begin.done.unwrap_or(0);
        if done >= begin.rows {
            return false;
        }
        match self.0.get(begin.device).and_then(|spans| spans.last()) {
            // A span in which nothing was reported is opened again: letters may have come in between, and be of others.
            Some(last) => last.source != begin.source || last.from_row == done,
            // It was begun by a release that kept no spans: whose the letters are is not known, so they are taken for its own.
            None => begin.done.is_none(),
        }
    }

    /// Opens a span. `buried` letters had been buried by then, and the first `dropped` of them are gone.
    pub(super) fn open(&mut self, begin: Begin<'_>, buried: u64, dropped: u64) {
        let done = begin.done.unwrap_or(0);
        let spans = self.0.entry(begin.device.to_owned()).or_default();
        if spans.is_empty() {
            spans.push(Span { source: UNKNOWN.to_owned(), from_letter: 0, from_row: 0 });
        }
        if spans.last().is_some_and(|last| last.source == begin.source && last.from_row == done) {
            spans.pop();
        }
        spans.push(Span { source: begin.source.to_owned(), from_letter: buried, from_row: done });
        // What no letter is left of says nothing any more, which also bounds the list by the letters that are kept.
        let mut next = spans.iter().skip(1).map(|span| span.from_letter).collect::<Vec<_>>().into_iter();
        spans.retain(|span| next.next().is_none_or(|end| end > span.from_letter && end > dropped));
    }

    /// The letters of a recording, as numbers of their burial.
    pub(super) fn letters_of(&self, device: &str, source: &str) -> Vec<Range<u64>> {
        let Some(spans) = self.0.get(device) else { return std::iter::once(0..u64::MAX).collect() };
        let ends = spans.iter().skip(1).map(|span| span.from_letter).chain([u64::MAX]);
        let of = |source: &str| {
            let ours = spans.iter().zip(ends.clone()).filter(|(span, _)| span.source == source);
            ours.map(|(span, end)| span.from_letter..end).collect::<Vec<_>>()
        };
        let ours = of(source);
        // It was replayed before spans were kept.
        if ours.is_empty() { of(UNKNOWN) } else { ours }
    }
}

/// How many numbers below `end` are in any of the ranges.
pub(super) fn count_below(mut ranges: Vec<Range<u64>>, end: u64) -> u64 {
    ranges.sort_by_key(|range| range.start);
    let (mut count, mut counted_to) = (0, 0);
    for range in ranges {
        let (start, stop) = (range.start.max(counted_to), range.end.min(end));
        if stop > start {
            count += stop - start;
            counted_to = stop;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(source: &str, done: Option<u64>) -> Begin<'_> {
        Begin { device: "d", source, done, rows: 10 }
    }

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    #[test]
    fn letters_are_of_the_recording_that_was_replayed_when_they_came() {
        let mut spans = Spans::default();
        assert!(spans.wants(begin("a", None)));
        spans.open(begin("a", None), 2, 0);
        assert!(!spans.wants(begin("a", Some(4))), "it goes on");
        assert!(spans.wants(begin("b", None)));
        spans.open(begin("b", None), 5, 0);
        assert!(spans.wants(begin("a", Some(4))), "it goes on after another one");
        spans.open(begin("a", Some(4)), 9, 0);
        assert!(!spans.wants(begin("b", Some(10))), "there is nothing left of it");
        assert_eq!(spans.letters_of("d", "a"), [2..5, 9..u64::MAX]);
        assert_eq!(spans.letters_of("d", "b"), one(5..9));
        assert_eq!(spans.letters_of("d", "c"), one(0..2), "from before spans were kept");
    }

    #[test]
    fn a_span_in_which_nothing_was_reported_is_opened_again() {
        let mut spans = Spans::default();
        spans.open(begin("a", None), 0, 0);
        assert!(spans.wants(begin("a", None)));
        spans.open(begin("a", None), 3, 0);
        assert_eq!(spans.letters_of("d", "a"), one(3..u64::MAX));
    }

    #[test]
    fn in_a_folder_without_spans_letters_are_taken_for_those_of_what_was_begun() {
        let mut spans = Spans::default();
        assert!(!spans.wants(begin("a", Some(4))));
        assert_eq!(spans.letters_of("d", "a"), one(0..u64::MAX));
        assert!(spans.wants(begin("b", None)));
        spans.open(begin("b", None), 3, 0);
        assert_eq!(spans.letters_of("d", "b"), one(3..u64::MAX));
        assert_eq!(spans.letters_of("d", "a"), one(0..3));
    }

    #[test]
    fn spans_without_letters_go() {
        let mut spans = Spans::default();
        for n in 0..1000_u64 {
            spans.open(begin(if n % 2 == 0 { "a" } else { "b" }, None), n, n.saturating_sub(10));
        }
        assert!(spans.0["d"].len() <= 12, "{}", spans.0["d"].len());
        assert!(spans.letters_of("d", "b").contains(&(999..u64::MAX)));
    }

    #[test]
    fn letters_that_were_dropped_are_counted_once() {
        assert_eq!(count_below(vec![5..9, 0..3, 2..6], 8), 8);
        assert_eq!(count_below(one(4..u64::MAX), 4), 0);
        assert_eq!(count_below(Vec::new(), 9), 0);
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Spans::load(folder.path()).unwrap(), Spans::default());
        let mut spans = Spans::default();
        spans.open(begin("a", None), 7, 0);
        spans.save(folder.path()).unwrap();
        assert_eq!(Spans::load(folder.path()).unwrap(), spans);
        std::fs::write(folder.path().join(FILE), "{}").unwrap();
        assert!(Spans::load(folder.path()).unwrap_err().to_string().contains("letters.json"));
    }
}
