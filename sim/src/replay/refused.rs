//! Rows that the node will never take.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use twin_core::ids::TwinId;
use twin_gateway::{Class, Gateway};

use super::recording::Recording;
use super::spans::{Spans, count_below};
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
    /// Reasons no longer known, because there were too many.
    pub forgotten: u64,
}

impl Refused {
    /// What the outbox holds against these recordings. What it holds against others, also of the same devices, is not theirs.
    pub(super) fn of(gateway: &Gateway, recordings: &[Recording], spans: &Spans) -> Option<Self> {
        let ranges = |recording: &Recording| spans.letters_of(recording.device().as_str(), recording.source());
        let theirs: HashMap<&TwinId, Vec<Range<u64>>> =
            recordings.iter().map(|recording| (recording.device(), ranges(recording))).collect();
        let dropped = gateway.status().dead_letters_dropped;
        let mut reasons = BTreeMap::new();
        let mut refused = 0;
        for (number, letter) in (dropped..).zip(gateway.dead_letters()) {
            let is_theirs = letter.class == Class::State
                && theirs.get(&letter.twin).is_some_and(|ranges| ranges.iter().any(|range| range.contains(&number)));
            if !is_theirs {
                continue;
            }
            let rows = letter.last.get() - letter.first.get() + 1;
            refused += rows;
            let reason = (letter.twin.clone(), letter.code.clone(), letter.message.clone());
            *reasons.entry(reason).or_insert(0) += rows;
        }
        let forgotten = count_below(theirs.into_values().flatten().collect(), dropped);
        let rows = recordings.iter().map(Recording::rows).sum();
        // Dropped letters may be of devices that are not replayed now: counted rather than passed over.
        let refused = (refused + forgotten).min(rows);
        (refused > 0).then_some(Self { rows, refused, reasons, forgotten })
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
        if self.forgotten > 0 {
            write!(f, "\n  {} rows whose reasons are no longer kept", self.forgotten)?;
        }
        Ok(())
    }
}
