//! Cold reads: the twins that are being activated, read from the disk many at a time.
//!
//! Each activation alone would be a task on a thread for blocking work; what waits while others are read is read with the next
//! go, as one snapshot, so that a thousand activations at once cost a few such tasks.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::rows::Rows;
use twin_core::twin::Twin;
use twin_storage::GroupReader;
use twin_storage::families::{Family, home, twin_alarms, twin_desired, twin_head, twin_hot, twin_marks};

use crate::cell::{owner_changed, unreadable};
use crate::limits::{LOAD_TWINS_MAX, LOADS_AT_ONCE_MAX};

struct Wanted {
    twin: TwinId,
    found: oneshot::Sender<Result<Twin, Refusal>>,
}

/// Reads twins of one cell.
pub(crate) struct Loader {
    /// Without a bound of its own: one per grain that is being activated, and those are bounded.
    wanted: mpsc::UnboundedSender<Wanted>,
}

impl Loader {
    /// A loader whose task ends when it is dropped.
    pub(crate) fn new(reader: GroupReader, runtime: &Handle) -> Self {
        let (wanted, queue) = mpsc::unbounded_channel();
        runtime.spawn(read_many(reader, queue));
        Self { wanted }
    }

    /// A twin as it is committed at some moment after the call.
    pub(crate) async fn load(&self, twin: &TwinId) -> Result<Twin, Refusal> {
        let (found, twin_read) = oneshot::channel();
        // A loader that has stopped drops the wish, which answers.
        let _ = self.wanted.send(Wanted { twin: twin.clone(), found });
        twin_read.await.unwrap_or_else(|_| Err(owner_changed()))
    }
}

async fn read_many(reader: GroupReader, mut queue: mpsc::UnboundedReceiver<Wanted>) {
    let places = Arc::new(Semaphore::new(LOADS_AT_ONCE_MAX));
    loop {
        // First a place, then what to read: what arrives meanwhile joins.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let mut wanted = Vec::new();
        if queue.recv_many(&mut wanted, LOAD_TWINS_MAX).await == 0 {
            return;
        }
        let reader = reader.clone();
        // A cold read may wait for the disk: not on a thread that runs grains.
        tokio::task::spawn_blocking(move || {
            read(&reader, wanted);
            drop(place);
        });
    }
}

const FAMILIES: usize = 6;

fn read(reader: &GroupReader, wanted: Vec<Wanted>) {
    let (twins, askers): (Vec<_>, Vec<_>) = wanted.into_iter().map(|Wanted { twin, found }| (twin, found)).unzip();
    match load_many(reader, &twins) {
        // Whoever asked may have gone; so in both.
        Ok(found) => askers.into_iter().zip(found).for_each(|(asker, found)| drop(asker.send(found))),
        Err(refusal) => askers.into_iter().for_each(|asker| drop(asker.send(Err(refusal.clone())))),
    }
}

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
