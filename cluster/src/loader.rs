//! Cold reads: twins as they are committed, read from their rows, many at a time.

use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::rows::Rows;
use twin_core::twin::Twin;
use twin_storage::GroupReader;
use twin_storage::families::{Family, home, twin_alarms, twin_desired, twin_head, twin_hot, twin_marks};

use crate::cell::{owner_changed, unreadable};

const FAMILIES: usize = 6;

/// Reads twins' committed rows, all of one snapshot. Blocks.
pub(crate) fn load_many(reader: &GroupReader, twins: &[TwinId]) -> Result<Vec<Result<Twin, Refusal>>, Refusal> {
    let keys_of = |twin| -> [_; FAMILIES] {
        [
            (Family::Home, home::key(twin)),
            (Family::TwinHot, twin_hot::key(twin)),
            (Family::TwinHead, twin_head::key(twin)),
            (Family::TwinDesired, twin_desired::key(twin)),
            (Family::TwinMarks, twin_marks::key(twin)),
            (Family::TwinAlarms, twin_alarms::key(twin)),
        ]
    };
    let keys: Vec<_> = twins.iter().flat_map(keys_of).collect();
    let mut rows = reader.get_many(&keys).map_err(|error| unreadable("twins on the disk", error))?.into_iter();
    let mut next = || rows.next().flatten();
    let load = |twin: &TwinId| {
        let rows = Rows { home: next(), hot: next(), head: next(), desired: next(), marks: next(), alarms: next() };
        Twin::load(twin.clone(), rows).map_err(|error| unreadable(twin, error))
    };
    Ok(twins.iter().map(load).collect())
}

/// Reads one.
pub(crate) async fn load(reader: &GroupReader, twin: &TwinId) -> Result<Twin, Refusal> {
    let (reader, twins) = (reader.clone(), [twin.clone()]);
    // A cold read may wait for the disk: not on a thread that runs tasks.
    let read = tokio::task::spawn_blocking(move || load_many(&reader, &twins)).await;
    let mut read = read.unwrap_or_else(|_| Err(owner_changed()))?;
    read.pop().unwrap_or_else(|| Err(owner_changed()))
}
