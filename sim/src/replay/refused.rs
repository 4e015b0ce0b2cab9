//! Rows that the node will never take.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use twin_core::ids::TwinId;
use twin_gateway::{Class, DeadLetter, Gateway};

use super::recording::Recording;
use super::spans::{Spans, count_below};
use crate::dead_letters::all_dead_letters;
use crate::handled::{Entry, Handled, How, rows_of};
use crate::limits::REASONS_LISTED_MAX;

/// How many rows were refused for good, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Rows of all recordings.
    pub rows: u64,
    /// Rows refused, in this run or one before it.
    pub refused: u64,
    /// How many for which reason: device, code and message.
    pub reasons: BTreeMap<(TwinId, String, String), u64>,
    /// Rows whose dead letters somebody discarded.
    pub discarded: u64,
    /// Reasons no longer known, because there were too many.
    pub forgotten: u64,
}

impl Refused {
    /// What the outbox holds against these recordings, and what was thrown away of it. What it holds against others, also of the same
    /// devices, is not theirs.
    pub(super) fn of(gateway: &Gateway, recordings: &[Recording], spans: &Spans, handled: &Handled) -> Option<Self> {
        let letters: Vec<(u64, Arc<DeadLetter>)> =
            all_dead_letters(gateway).map(|listed| (listed.id.number(), listed.letter)).collect();
        let rows = recordings.iter().map(Recording::rows).sum();
        let of = |recording: &Recording| {
            let device = recording.device().as_str();
            (device.to_owned(), spans.letters_of(device, recording.source()))
        };
        Self::count(rows, &recordings.iter().map(of).collect(), &letters, gateway.status().dead_letters_ever, handled)
    }

    /// `theirs`: how many letters came before those of each device's recording, and before those after it.
    fn count(
        rows: u64,
        theirs: &HashMap<String, Vec<Range<u64>>>,
        letters: &[(u64, Arc<DeadLetter>)],
        ever: u64,
        handled: &Handled,
    ) -> Option<Self> {
        // The first letter has number 1, and none came before it.
        let within = |ranges: &[Range<u64>], number: u64| ranges.iter().any(|range| range.contains(&(number - 1)));
        let is_theirs = |device: &str, number: u64| theirs.get(device).is_some_and(|ranges| within(ranges, number));
        let mut reasons = BTreeMap::new();
        let mut refused: u64 = 0;
        for (number, letter) in letters {
            if letter.class != Class::State || !is_theirs(letter.twin.as_str(), *number) {
                continue;
            }
            let rows = rows_of(letter);
            refused += rows;
            let reason = (letter.twin.clone(), letter.code.clone(), letter.message.clone());
            *reasons.entry(reason).or_insert(0) += rows;
        }
        // What is there counts as there: the note is written before the letter goes.
        let is_there = |number: u64| letters.binary_search_by_key(&number, |(number, _)| *number).is_ok();
        let gone: Vec<(u64, &Entry)> = handled.iter().filter(|(number, _)| !is_there(*number)).collect();
        let discarded: u64 = gone
            .iter()
            .filter(|(number, entry)| entry.how == How::Discarded && is_theirs(&entry.device, *number))
            .map(|(_, entry)| entry.rows)
            .sum();
        // All that is in the outbox no more, and in nobody's hands, was dropped for room. It may be of devices that are not replayed
        // now: counted rather than passed over.
        let ranges: Vec<Range<u64>> = theirs.values().flatten().cloned().collect();
        let known = letters.iter().map(|(number, _)| *number).chain(gone.iter().map(|(number, _)| *number));
        let known = known.filter(|number| within(&ranges, *number)).count() as u64;
        let forgotten = count_below(ranges, ever).saturating_sub(known);
        let refused = (refused + discarded + forgotten).min(rows);
        (refused > 0).then_some(Self { rows, refused, reasons, discarded, forgotten })
    }

    /// Rows acked.
    pub fn acked(&self) -> u64 {
        self.rows - self.refused
    }
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} rows were refused for good:", self.refused, self.rows)?;
        for ((twin, code, message), rows) in self.reasons.iter().take(REASONS_LISTED_MAX) {
            write!(f, "\n  {twin}: {rows} rows: {message} ({code})")?;
        }
        if self.reasons.len() > REASONS_LISTED_MAX {
            write!(f, "\n  and {} more reasons", self.reasons.len() - REASONS_LISTED_MAX)?;
        }
        if self.discarded > 0 {
            write!(f, "\n  {} rows whose dead letters were discarded", self.discarded)?;
        }
        if self.forgotten > 0 {
            write!(f, "\n  {} rows whose reasons are no longer kept", self.forgotten)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use twin_core::numbers::{Seq, Stay};

    use super::*;

    fn letter(number: u64, device: &str) -> (u64, Arc<DeadLetter>) {
        let letter = DeadLetter {
            twin: TwinId::new(device).unwrap(),
            class: Class::State,
            stay: Stay::default(),
            first: Seq::new(number),
            last: Seq::new(number),
            code: "superseded".into(),
            message: String::new(),
            body: None,
        };
        (number, Arc::new(letter))
    }

    /// Letters 1 and 2 are of something else; of `a` and `b` came ten, in turn.
    fn theirs() -> HashMap<String, Vec<Range<u64>>> {
        ["a", "b"].map(|device| (device.to_owned(), std::iter::once(2..u64::MAX).collect())).into()
    }

    fn ten() -> Vec<(u64, Arc<DeadLetter>)> {
        (3..13).map(|number| letter(number, if number % 2 == 0 { "a" } else { "b" })).collect()
    }

    fn counted(
        theirs: &HashMap<String, Vec<Range<u64>>>,
        letters: &[(u64, Arc<DeadLetter>)],
        handled: &Handled,
    ) -> [u64; 3] {
        let found = Refused::count(100, theirs, letters, 12, handled);
        found.map_or([0; 3], |refused| [refused.refused, refused.discarded, refused.forgotten])
    }

    #[test]
    fn letters_that_were_discarded_are_rows_that_were_refused_and_those_replayed_are_not() {
        let (mut letters, mut handled) = (ten(), Handled::default());
        assert_eq!(counted(&theirs(), &letters, &handled), [10, 0, 0]);
        for (number, letter) in &letters[..4] {
            handled.note(*number, letter, How::Discarded);
        }
        assert_eq!(counted(&theirs(), &letters, &handled), [10, 0, 0], "noted, and still there");
        let gone: Vec<_> = letters.drain(..4).collect();
        assert_eq!(counted(&theirs(), &letters, &handled), [10, 4, 0]);
        handled.note(gone[0].0, &gone[0].1, How::Replayed);
        assert_eq!(counted(&theirs(), &letters, &handled), [9, 3, 0]);
        letters.clear();
        assert_eq!(counted(&theirs(), &letters, &handled), [9, 3, 6], "the rest was dropped for room");
    }

    #[test]
    fn what_was_discarded_of_another_device_is_not_this_ones() {
        let (mut letters, mut handled) = (ten(), Handled::default());
        for (number, letter) in letters.iter().filter(|(number, _)| number % 2 == 0) {
            handled.note(*number, letter, How::Discarded);
        }
        letters.retain(|(number, _)| number % 2 == 1);
        let only = |device: &str| theirs().into_iter().filter(|(other, _)| other == device).collect();
        assert_eq!(counted(&only("a"), &letters, &handled), [5, 5, 0]);
        assert_eq!(counted(&only("b"), &letters, &handled), [5, 0, 0]);
        letters.clear();
        for number in (3..13).step_by(2) {
            handled.note(number, &letter(number, "b").1, How::Replayed);
        }
        assert_eq!(counted(&only("b"), &letters, &handled), [0; 3]);
    }
}
