//! How much all batches together may have under way in the core, so that other traffic keeps its latency.
//!
//! The window is shared: ten batches take no more than one, and take turns. It follows the time that a chunk takes from its
//! submission to its last answer, which is what other traffic takes as well, for both go through the same queues: a chunk that was
//! quick lets the window grow by a fixed step, one that was slow lets it shrink by a part. Where a node is slow for other reasons the
//! window stays at its least, which is little work for the node and still progress.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{
    BATCH_CHUNK_ITEMS_MAX, BATCH_QUICK, BATCH_SHARE_ITEMS_MAX, BATCH_SHARE_ITEMS_MIN, BATCH_SHARE_STEP,
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

/// The size of the window, and how it changes: plain data.
#[derive(Debug)]
struct Share {
    items: usize,
    /// Permits that are to vanish as they come back.
    surplus: usize,
    /// Chunks that were submitted before say nothing about the window as it is now.
    cut_at: Option<Instant>,
}

impl Pace {
    pub(crate) fn new(window: Gauge) -> Arc<Self> {
        window.set(BATCH_SHARE_ITEMS_MIN as i64);
        Arc::new(Self {
            room: Arc::new(Semaphore::new(BATCH_SHARE_ITEMS_MIN)),
            share: Mutex::new(Share { items: BATCH_SHARE_ITEMS_MIN, surplus: 0, cut_at: None }),
            window,
        })
    }

    /// Who waits here for a permit for each item of a chunk gets it in turn.
    pub(super) fn room(&self) -> Arc<Semaphore> {
        Arc::clone(&self.room)
    }

    /// A chunk is submitted now.
    pub(super) fn begin(self: &Arc<Self>, items: OwnedSemaphorePermit) -> Turn {
        Turn { pace: Arc::clone(self), items: Some(items), begun: Instant::now() }
    }

    fn end(&self, mut items: OwnedSemaphorePermit, begun: Instant) {
        let now = Instant::now();
        let mut share = self.share.lock();
        let grown = share.saw(items.num_permits(), begun, now);
        self.window.set(share.items as i64);
        if grown > 0 {
            self.room.add_permits(grown);
        }
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
    /// A chunk of so many items took this long. By how many items the window grew.
    fn saw(&mut self, items: usize, begun: Instant, now: Instant) -> usize {
        let took: Duration = now.saturating_duration_since(begun);
        if took <= BATCH_QUICK {
            // The same growth for a windowful of items, in however many chunks they come.
            let step = (BATCH_SHARE_STEP * items).div_ceil(self.items);
            let grown = step.min(BATCH_SHARE_ITEMS_MAX - self.items);
            self.items += grown;
            let kept = grown.min(self.surplus);
            self.surplus -= kept;
            return grown - kept;
        }
        if self.cut_at.is_none_or(|cut_at| begun > cut_at) {
            let less = (self.items / 4).min(self.items - BATCH_SHARE_ITEMS_MIN);
            self.items -= less;
            self.surplus += less;
            self.cut_at = Some(now);
        }
        0
    }
}

/// A chunk that is under way; ends when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    pace: Arc<Pace>,
    items: Option<OwnedSemaphorePermit>,
    begun: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(items) = self.items.take() {
            self.pace.end(items, self.begun);
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

    fn all(pace: &Arc<Pace>) -> Vec<Turn> {
        std::iter::from_fn(|| chunk(pace)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn quick_chunks_widen_the_window_and_slow_ones_narrow_it_to_its_least() {
        let pace = Pace::new(Gauge::default());
        for _ in 0..2_000 {
            let turns = all(&pace);
            assert!(!turns.is_empty());
            tokio::time::advance(BATCH_QUICK / 2).await;
            drop(turns);
        }
        assert_eq!(pace.share.lock().items, BATCH_SHARE_ITEMS_MAX);
        assert_eq!(pace.room.available_permits(), BATCH_SHARE_ITEMS_MAX);
        let turns = all(&pace);
        tokio::time::advance(BATCH_QUICK * 2).await;
        drop(turns);
        let once = pace.share.lock().items;
        assert_eq!(once, BATCH_SHARE_ITEMS_MAX - BATCH_SHARE_ITEMS_MAX / 4, "all of them are one sign");
        for _ in 0..50 {
            tokio::time::advance(Duration::from_millis(1)).await;
            let turns = all(&pace);
            tokio::time::advance(BATCH_QUICK * 2).await;
            drop(turns);
        }
        assert_eq!(pace.share.lock().items, BATCH_SHARE_ITEMS_MIN);
        assert_eq!(pace.room.available_permits(), BATCH_SHARE_ITEMS_MIN, "every permit came back, or vanished");
        assert_eq!(pace.share.lock().surplus, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_and_window_agree_whatever_the_order() {
        let pace = Pace::new(Gauge::default());
        let mut under_way = Vec::new();
        let mut seed = 7_u64;
        for _ in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match seed >> 61 {
                0..4 => under_way.extend(chunk(&pace)),
                4..7 if !under_way.is_empty() => drop(under_way.swap_remove((seed >> 32) as usize % under_way.len())),
                _ => tokio::time::advance(Duration::from_millis((seed >> 40) % 15)).await,
            }
            let held = under_way.len() * BATCH_CHUNK_ITEMS_MAX;
            let share = pace.share.lock();
            assert_eq!(held + pace.room.available_permits(), share.items + share.surplus);
        }
    }
}
