//! Those who wait for something to happen to one twin: they are woken, and look for themselves.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;
use twin_core::ids::TwinId;

use crate::limits::FOLLOWERS_MAX;

/// Who follows which twin. While nobody does, it costs one look at a number.
#[derive(Debug, Default)]
pub struct Followers {
    /// Of all twins; changed under the table's lock only.
    count: AtomicUsize,
    twins: Mutex<HashMap<TwinId, watch::Sender<()>>>,
}

impl Followers {
    /// Begins to follow a twin. `None`: as many as may do so already.
    pub fn follow(self: &Arc<Self>, twin: &TwinId) -> Option<Follower> {
        let mut twins = self.twins.lock();
        if self.count.load(Ordering::Relaxed) >= FOLLOWERS_MAX {
            return None;
        }
        let woken = twins.entry(twin.clone()).or_insert_with(|| watch::Sender::new(())).subscribe();
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(Follower { followers: Arc::clone(self), twin: twin.clone(), woken })
    }

    /// Does anybody follow this twin?
    pub fn follow_any(&self, twin: &TwinId) -> bool {
        self.count() > 0 && self.twins.lock().contains_key(twin)
    }

    /// Something happened to the twin, and is committed.
    pub fn wake(&self, twin: &TwinId) {
        if self.count() > 0
            && let Some(sender) = self.twins.lock().get(twin)
        {
            sender.send_replace(());
        }
    }

    /// Followers of all twins.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

/// Follows one twin until it is dropped.
#[derive(Debug)]
pub struct Follower {
    followers: Arc<Followers>,
    twin: TwinId,
    woken: watch::Receiver<()>,
}

impl Follower {
    /// Resolves once something happened to the twin since this was last asked, or since it was followed. However much happened,
    /// it is told once.
    pub async fn stirred(&mut self) {
        // The sender stays as long as there is a follower.
        let _ = self.woken.changed().await;
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut twins = self.followers.twins.lock();
        // This one still counts.
        if twins.get(&self.twin).is_some_and(|sender| sender.receiver_count() <= 1) {
            twins.remove(&self.twin);
        }
        self.followers.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    #[test]
    fn who_follows_is_woken_for_its_twin_and_leaves_nothing_behind() {
        let followers = Arc::<Followers>::default();
        let (one, other) = (TwinId::new("one").unwrap(), TwinId::new("other").unwrap());
        let (mut first, mut second) = (followers.follow(&one).unwrap(), followers.follow(&one).unwrap());
        assert!(followers.follow_any(&one) && !followers.follow_any(&other));
        followers.wake(&other);
        assert!(first.stirred().now_or_never().is_none());
        followers.wake(&one);
        followers.wake(&one);
        assert!(first.stirred().now_or_never().is_some() && second.stirred().now_or_never().is_some());
        assert!(first.stirred().now_or_never().is_none(), "told once");
        drop(first);
        followers.wake(&one);
        assert!(second.stirred().now_or_never().is_some());
        drop(second);
        assert!(!followers.follow_any(&one) && followers.twins.lock().is_empty() && followers.count() == 0);
    }

    #[test]
    fn followers_are_bounded() {
        let followers = Arc::<Followers>::default();
        let twin = TwinId::new("one").unwrap();
        let mut all: Vec<_> = (0..FOLLOWERS_MAX).map(|_| followers.follow(&twin).unwrap()).collect();
        assert!(followers.follow(&twin).is_none());
        all.pop();
        assert!(followers.follow(&twin).is_some());
    }
}
