//! How much all batches together may have under way in the core, so that other traffic keeps its latency.
//!
//! The window is shared: ten batches take no more than one, and take turns. It follows what other traffic waits for: while a batch is
//! open, the node is asked again and again how long it takes until everything that was given to the core by now is committed. Where
//! that is quick the window grows by a fixed step, where it is slow it shrinks by a part. (Not the time that a chunk takes: that has
//! cold reads in it, which nobody else waits for.) On a node that is slow for other reasons the window stays at its least, which is
//! little work for the node and still progress.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};
use twin_cluster::Cluster;

use crate::limits::{
    BATCH_CHUNK_ITEMS_MAX, BATCH_PROBE_INTERVAL, BATCH_QUICK, BATCH_SHARE_ITEMS_MAX, BATCH_SHARE_ITEMS_MIN,
    BATCH_SHARE_STEP,
};

const _: () = assert!(BATCH_CHUNK_ITEMS_MAX <= BATCH_SHARE_ITEMS_MIN, "a chunk must fit the smallest window");

/// The window of all batches of a node.
#[derive(Debug)]
pub(crate) struct Pace {
    /// A permit for each item that may be under way.
    room: Arc<Semaphore>,
    share: Mutex<Share>,
    /// Shows the window.
    window: Gauge,
}

/// The size of the window: plain data.
#[derive(Debug)]
struct Share {
    items: usize,
    /// Permits that are to vanish as they come back.
    surplus: usize,
    /// Batches that are open, and whether their node is being asked.
    open: usize,
    is_probing: bool,
}

impl Pace {
    pub(crate) fn new(window: Gauge) -> Arc<Self> {
        window.set(BATCH_SHARE_ITEMS_MIN.cast_signed() as i64);
        let share = Share { items: BATCH_SHARE_ITEMS_MIN, surplus: 0, open: 0, is_probing: false };
        Arc::new(Self { room: Arc::new(Semaphore::new(BATCH_SHARE_ITEMS_MIN)), share: Mutex::new(share), window })
    }

    /// A batch is open until what this returns is dropped. Within the node's runtime.
    pub(super) fn enter(self: &Arc<Self>, cluster: &Cluster) -> Entered {
        let mut share = self.share.lock();
        share.open += 1;
        if !std::mem::replace(&mut share.is_probing, true) {
            tokio::spawn(Arc::clone(self).probe(cluster.clone()));
        }
        Entered(Arc::clone(self))
    }

    /// While a batch is open, asks the node how long others wait.
    async fn probe(self: Arc<Self>, cluster: Cluster) {
        loop {
            let asked = Instant::now();
            let is_quick = cluster.committed().await.is_ok() && asked.elapsed() <= BATCH_QUICK;
            if !self.saw(is_quick) {
                return;
            }
            sleep_until(asked + BATCH_PROBE_INTERVAL).await;
        }
    }

    /// The node was quick, or not. `false`: no batch is open any more.
    fn saw(&self, is_quick: bool) -> bool {
        let mut share = self.share.lock();
        let grown = share.saw(is_quick);
        self.window.set(share.items.cast_signed() as i64);
        if grown > 0 {
            self.room.add_permits(grown);
        }
        // Those that nobody has just now.
        share.surplus -= self.room.forget_permits(share.surplus);
        share.is_probing = share.open > 0;
        share.is_probing
    }

    /// Who waits here for a permit for each item of a chunk gets it in turn.
    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.room)
    }

    /// A chunk that has these permits is under way.
    pub(super) fn begin(self: &Arc<Self>, items: OwnedSemaphorePermit) -> Turn {
        Turn { pace: Arc::clone(self), items: Some(items) }
    }

    fn end(&self, mut items: OwnedSemaphorePermit) {
        let mut share = self.share.lock();
        let vanish = share.surplus.min(items.num_permits());
        if let Some(surplus) = items.split(vanish) {
            surplus.forget();
            share.surplus -= vanish;
        }
        drop(share);
        drop(items);
    }
}

impl Share {
    /// By how many permits the window grew.
    fn saw(&mut self, is_quick: bool) -> usize {
        if is_quick {
            let grown = BATCH_SHARE_STEP.min(BATCH_SHARE_ITEMS_MAX - self.items);
            self.items += grown;
            let kept = grown.min(self.surplus);
            self.surplus -= kept;
            return grown - kept;
        }
        let less = (self.items / 4).min(self.items - BATCH_SHARE_ITEMS_MIN);
        self.items -= less;
        self.surplus += less;
        0
    }
}

/// A batch that is open.
#[derive(Debug)]
pub(super) struct Entered(Arc<Pace>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.share.lock().open -= 1;
    }
}

/// A chunk that is under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pace: Arc<Pace>,
    items: Option<OwnedSemaphorePermit>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(items) = self.items.take() {
            self.pace.end(items);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(pace: &Arc<Pace>) -> Option<Turn> {
        let items = pace.room().try_acquire_many_owned(BATCH_CHUNK_ITEMS_MAX as u32).ok()?;
        Some(pace.begin(items))
    }

    #[test]
    fn a_quick_node_widens_the_window_and_a_slow_one_narrows_it_to_its_least() {
        let pace = Pace::new(Gauge::default());
        for _ in 0..1_000 {
            assert!(!pace.saw(true), "no batch is open");
        }
        assert_eq!(pace.share.lock().items, BATCH_SHARE_ITEMS_MAX);
        assert_eq!(pace.room.available_permits(), BATCH_SHARE_ITEMS_MAX);
        let turns: Vec<Turn> = std::iter::from_fn(|| chunk(&pace)).collect();
        assert!(!pace.saw(false));
        assert_eq!(pace.share.lock().items, BATCH_SHARE_ITEMS_MAX - BATCH_SHARE_ITEMS_MAX / 4);
        for _ in 0..50 {
            assert!(!pace.saw(false));
        }
        assert_eq!(pace.share.lock().items, BATCH_SHARE_ITEMS_MIN);
        drop(turns);
        assert_eq!(pace.room.available_permits(), BATCH_SHARE_ITEMS_MIN, "every permit came back, or vanished");
        assert_eq!(pace.share.lock().surplus, 0);
    }

    #[test]
    fn permits_and_window_agree_whatever_the_order() {
        let pace = Pace::new(Gauge::default());
        let mut under_way = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match seed >> 61 {
                0..3 => under_way.extend(chunk(&pace)),
                3..6 if !under_way.is_empty() => drop(under_way.swap_remove((seed >> 32) as usize % under_way.len())),
                6 => assert!(!pace.saw(false)),
                _ => assert!(!pace.saw(true)),
            }
            let held = under_way.len() * BATCH_CHUNK_ITEMS_MAX;
            let share = pace.share.lock();
            assert_eq!(held + pace.room.available_permits(), share.items + share.surplus);
        }
    }
}
