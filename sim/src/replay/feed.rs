//! From the recordings into the outbox.

use twin_core::clock::Clock;
use twin_core::json::compact_len;
use twin_gateway::{Gateway, Report};

use super::error::ReplayError;
use super::rate::Pace;
use super::recording::{Recording, Rows};
use super::recording_error::RecordingError;
use crate::limits::{PACE_TICK, ROW_OVERHEAD_BYTES, ROWS_AT_ONCE_BYTES, ROWS_AT_ONCE_MAX};

/// The recordings, each where it was left, read in turn: one row of each, then the next of each.
pub(crate) struct Feed<'a> {
    sources: Vec<(&'a Recording, Rows)>,
    turn: usize,
}

impl<'a> Feed<'a> {
    /// Goes on where the outbox says that each recording was left.
    pub(crate) fn open(recordings: &'a [Recording], gateway: &Gateway) -> Result<Self, RecordingError> {
        let mut sources = Vec::with_capacity(recordings.len());
        for recording in recordings {
            let done = gateway.position(recording.source()).unwrap_or(0);
            sources.push((recording, recording.rows_after(done)?));
        }
        Ok(Self { sources, turn: 0 })
    }

    /// The next rows, in order within each recording; empty once all are read.
    fn next_reports(&mut self, rows_max: usize) -> Result<Vec<Report>, RecordingError> {
        let mut reports = Vec::new();
        let mut bytes = 0;
        while reports.len() < rows_max && bytes < ROWS_AT_ONCE_BYTES && !self.sources.is_empty() {
            self.turn %= self.sources.len();
            let (recording, rows) = &mut self.sources[self.turn];
            let Some(row) = rows.next().transpose()? else {
                self.sources.remove(self.turn);
                continue;
            };
            bytes += compact_len(&row.reported) + ROW_OVERHEAD_BYTES;
            reports.push(Report::new(recording.device().clone(), row.reported).at(recording.source(), row.number));
            self.turn += 1;
        }
        Ok(reports)
    }

    /// Reports all rows, at the pace. Each commit of the outbox holds rows and positions together, so that after a kill at any
    /// moment the next run goes on with the first row that is not in the outbox.
    pub(crate) async fn run(mut self, gateway: &Gateway, mut pace: Pace, clock: &dyn Clock) -> Result<(), ReplayError> {
        let mut tick = tokio::time::interval(PACE_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let due = pace.due(clock.monotonic(), ROWS_AT_ONCE_MAX);
            if due == 0 {
                tick.tick().await;
                continue;
            }
            let reports = self.next_reports(due)?;
            if reports.is_empty() {
                return Ok(());
            }
            pace.took(reports.len());
            // At the cap this waits for room.
            gateway.report_many(reports).await?;
        }
    }
}
