//! How a gateway goes on after a failed attempt or a lost session: when, and how long it waits for an answer. Plain data.

use std::time::Duration;

use crate::backoff::{Backoff, longest_after};
use crate::limits::{ATTEMPT_TIMEOUT_MIN, CONNECT_TIMEOUT};
use crate::session::end::End;
use crate::session::pause::pause;

/// What the attempts so far say about the next one.
#[derive(Debug)]
pub(crate) struct Retry {
    backoff: Backoff,
    /// Since when there is no node to talk to.
    away_since: Option<Duration>,
    /// How long the next attempt may take.
    patience: Duration,
    /// As long as attempts are known to need here: never less patience than this.
    patience_min: Duration,
}

impl Retry {
    pub(crate) fn new() -> Self {
        Self {
            backoff: Backoff::default(),
            away_since: None,
            patience: ATTEMPT_TIMEOUT_MIN,
            patience_min: ATTEMPT_TIMEOUT_MIN,
        }
    }

    /// How long the next attempt may take, welcome included. Each has twice as long as the one before, so that a slow network
    /// or a node with a crowd at its door gets its chance, and a node that is back from a restart is asked again soon.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The node does not answer, from now on.
    pub(crate) fn lost(&mut self, now: Duration) {
        self.away_since.get_or_insert(now);
    }

    /// It answers again, by itself.
    pub(crate) fn found(&mut self) {
        self.away_since = None;
        self.patience = self.patience_min;
    }

    /// An attempt that took so long led to a session.
    pub(crate) fn connected(&mut self, took: Duration) {
        self.patience_min = (took * 2).clamp(ATTEMPT_TIMEOUT_MIN, CONNECT_TIMEOUT);
        self.found();
    }

    /// The pause after an attempt that failed, or a session that lived so long and ended.
    pub(crate) fn pause(&mut self, end: &End, lived: Duration, now: Duration, random: u64) -> Duration {
        self.lost(now);
        self.patience = (self.patience * 2).min(CONNECT_TIMEOUT);
        let away = now.saturating_sub(self.away_since.unwrap_or(now));
        pause(end, lived, longest_after(away), &mut self.backoff, random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The moments at which attempts begin while nothing answers, with the longest pauses.
    fn attempts(until: Duration) -> Vec<Duration> {
        let mut retry = Retry::new();
        retry.lost(Duration::ZERO);
        let (mut now, mut begun) = (Duration::ZERO, Vec::new());
        while now < until {
            begun.push(now);
            now += retry.patience();
            now += retry.pause(&End::Failed("no answer".into()), Duration::ZERO, now, u64::MAX / 3);
        }
        begun
    }

    #[test]
    fn a_node_that_is_away_is_asked_often_at_first_and_seldom_later() {
        assert!(attempts(4 * SECOND).len() >= 3, "{:?}", attempts(4 * SECOND));
        let day = attempts(24 * 3600 * SECOND).len();
        assert!((24 * 3600 / 45..24 * 3600 / 12).contains(&day), "{day}");
    }

    #[test]
    fn a_slow_network_is_given_time_from_the_first_attempt_on_once_it_is_known() {
        let mut retry = Retry::new();
        retry.connected(3 * SECOND);
        assert_eq!(retry.patience(), 6 * SECOND);
        retry.connected(Duration::from_millis(5));
        assert_eq!(retry.patience(), ATTEMPT_TIMEOUT_MIN);
    }
}
