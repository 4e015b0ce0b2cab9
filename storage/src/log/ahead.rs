//! Reading ahead: while one stretch of the log is applied, the next one is read back and decoded on another thread.
//!
//! That is what a start does with all entries since the last checkpoint, and it cannot serve before it is done.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::{JoinError, JoinHandle};

use super::group::GroupLog;
use crate::consensus::Entry;

/// The stretch that will be wanted next, if reading goes on as it began. At most one, as long as the one before.
#[derive(Default)]
pub(super) struct ReadAhead(Option<Stretch>);

struct Stretch {
    range: Range<u64>,
    /// [`super::group::View::taken_away`] when it was begun.
    taken_away: u64,
    entries: JoinHandle<io::Result<Vec<Entry>>>,
}

impl ReadAhead {
    /// The entries of a range, as [`GroupLog::read`] has them.
    pub(super) async fn read(&mut self, group: &Arc<GroupLog>, range: Range<u64>) -> io::Result<Vec<Entry>> {
        let known = self.0.take().filter(|ahead| ahead.range.start == range.start && ahead.range.end >= range.end);
        let (taken_away, next) = group.with_view(|view| {
            let wanted = view.on_disk(&(range.end..range.end.saturating_add(range.end.saturating_sub(range.start))));
            // A single entry is looked at, not read on from; and who reads the newest reads them from memory.
            let goes_on = range.end.saturating_sub(range.start) > 1 && wanted.start == range.end && !wanted.is_empty();
            (view.taken_away(), goes_on.then_some(wanted))
        });
        if let Some(next) = next {
            let (group, range) = (Arc::clone(group), next.clone());
            let entries = tokio::task::spawn_blocking(move || group.read(range, u64::MAX));
            self.0 = Some(Stretch { range: next, taken_away, entries });
        }
        // Invariant: what was taken away is not read. So what was read before something was, is read again.
        match known {
            Some(ahead) if ahead.taken_away == taken_away => {
                let mut entries = ahead.entries.await.map_err(ended)??;
                entries.truncate(range.end.saturating_sub(range.start) as usize);
                Ok(entries)
            }
            _ => group.read(range, u64::MAX),
        }
    }
}

fn ended(died: JoinError) -> io::Error {
    io::Error::other(format!("reading the log ahead ended: {died}"))
}
