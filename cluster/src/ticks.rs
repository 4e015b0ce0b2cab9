//! A group's clock stands still while its replica waits for the disk.
//!
//! openraft's core waits itself for a vote to be durable, and hears of nothing meanwhile. Its clock ticks on into the core's own queue, into
//! which the core puts word of the vote afterwards; were that queue full by then (1,024 ticks, about 100 s), the core would wait for itself
//! for ever.

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twin_storage::LogStore;
use twin_storage::consensus::Raft;

use crate::limits::CORE_LOOK_INTERVAL;

/// Stops the clock for as long as the core waits, until stopped.
pub(crate) async fn tick_while_the_core_hears(raft: Raft, log: LogStore, stop: CancellationToken) {
    let mut looks = tokio::time::interval(CORE_LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = true;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = looks.tick() => {}
        }
        let hears = !log.is_waited_for();
        if hears != ticks {
            ticks = hears;
            raft.runtime_config().tick(ticks);
        }
    }
}
