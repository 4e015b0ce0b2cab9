//! Is the node still there? Pure: counters of a connection in, a verdict out.
//!
//! QUIC asks a silent peer at ever longer intervals, and gives up after the idle timeout: a node that was killed and is back after
//! a moment would go unnoticed for seconds. So the gateway itself looks whether packets come while one is due. One is due when
//! something was sent after the last packet came: whatever carries content is acknowledged within a round trip.

use std::time::Duration;

use crate::limits::{SILENCE_FALSE_ALARMS_MAX, SILENCE_MAX, SILENCE_ROUND_TRIPS, SILENCE_TICK};

/// What a connection's counters say at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Packets sent.
    pub(crate) sent: u64,
    /// Packets received.
    pub(crate) received: u64,
    /// The usual round trip.
    pub(crate) round_trip: Duration,
}

/// The verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// Nothing is due.
    Quiet,
    /// Something is due.
    Waiting,
    /// It is overdue: worth saying something that is answered at once.
    Overdue,
    /// The node does not answer.
    Silent,
}

/// Watches one connection.
#[derive(Debug)]
pub(crate) struct Liveness {
    received: u64,
    /// Packets sent when the last look found a new one received.
    sent_then: u64,
    waiting_since: Option<Duration>,
    was_silent: bool,
    false_alarms: u32,
    /// Gateways that lost one node do not turn to the next moment together.
    jitter: Duration,
}

impl Liveness {
    /// For a connection that stands so, with 64 random bits.
    pub(crate) fn new(now: Counters, random: u64) -> Self {
        let jitter = Duration::from_millis(random % (SILENCE_MAX.as_millis() as u64 / 2));
        Self {
            received: now.received,
            sent_then: now.sent,
            waiting_since: None,
            was_silent: false,
            false_alarms: 0,
            jitter,
        }
    }

    /// A look at the counters.
    pub(crate) fn look(&mut self, counters: Counters, now: Duration) -> Sign {
        if counters.received != self.received {
            if std::mem::take(&mut self.was_silent) {
                // Slow, not gone. If the node or the network is overloaded, new connections would only add to it.
                self.false_alarms = (self.false_alarms + 1).min(SILENCE_FALSE_ALARMS_MAX);
            }
            self.received = counters.received;
            self.sent_then = counters.sent;
            self.waiting_since = None;
            return Sign::Waiting;
        }
        if counters.sent == self.sent_then {
            return Sign::Quiet;
        }
        let waited = now.saturating_sub(*self.waiting_since.get_or_insert(now));
        let usual = counters.round_trip * SILENCE_ROUND_TRIPS;
        let silent_after = (SILENCE_MAX + self.jitter).max(usual) * (1 << self.false_alarms);
        if waited >= silent_after {
            self.was_silent = true;
            Sign::Silent
        } else if waited >= SILENCE_TICK.max(counters.round_trip * 2) {
            Sign::Overdue
        } else {
            Sign::Waiting
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(sent: u64, received: u64) -> Counters {
        Counters { sent, received, round_trip: Duration::from_millis(1) }
    }

    /// The first verdicts of each kind while nothing comes, with their times in milliseconds.
    fn verdicts(liveness: &mut Liveness, counters: Counters, from_ms: u64) -> Vec<(u64, Sign)> {
        let mut seen: Vec<(u64, Sign)> = Vec::new();
        for ms in (0..20_000).step_by(100) {
            let sign = liveness.look(counters, Duration::from_millis(from_ms + ms));
            if seen.last().is_none_or(|(_, last)| *last != sign) {
                seen.push((ms, sign));
            }
        }
        seen
    }

    #[test]
    fn who_said_nothing_is_owed_nothing() {
        let mut liveness = Liveness::new(counters(9, 5), 0);
        assert_eq!(verdicts(&mut liveness, counters(9, 5), 0), [(0, Sign::Quiet)]);
    }

    #[test]
    fn an_answer_that_does_not_come_is_overdue_and_then_the_node_is_silent() {
        let mut liveness = Liveness::new(counters(9, 5), 0);
        let seen = verdicts(&mut liveness, counters(10, 5), 0);
        assert_eq!(seen, [(0, Sign::Waiting), (200, Sign::Overdue), (500, Sign::Silent)]);
    }

    #[test]
    fn a_slow_network_is_not_silence() {
        let mut liveness = Liveness::new(counters(9, 5), 0);
        let slow = Counters { round_trip: Duration::from_secs(1), ..counters(10, 5) };
        let seen = verdicts(&mut liveness, slow, 0);
        assert_eq!(seen, [(0, Sign::Waiting), (2_000, Sign::Overdue), (6_000, Sign::Silent)]);
    }

    #[test]
    fn false_alarms_make_it_patient_within_a_bound() {
        let mut liveness = Liveness::new(counters(0, 0), 0);
        let mut silent_after_ms = Vec::new();
        for round in 1..=6 {
            let seen = verdicts(&mut liveness, counters(round * 2, round - 1), round * 100_000);
            silent_after_ms.extend(seen.iter().filter(|(_, sign)| *sign == Sign::Silent).map(|(ms, _)| *ms));
            liveness.look(counters(round * 2, round), Duration::from_millis(round * 100_000 + 50_000));
        }
        assert_eq!(silent_after_ms, [500, 1_000, 2_000, 4_000, 8_000, 8_000]);
    }
}
