//! Credit in bytes: how much a gateway may send on a stream before the node has said more.
//!
//! **Why.** A node that is full answers `busy`, and the gateway sends the same again a moment later: work for both, and for nothing. With
//! credit the message stays where it is safe, in the outbox, until the node has room for it.
//!
//! **How.** Both sides count the same from the opening of a stream: each batch costs the bytes of its frame and
//! [`MESSAGE_CREDIT_BYTES`] for each message, which is about what the node's admission weighs it with. The node says up to which total
//! the gateway may go. A batch may be sent while the total of those before it is below: the last may go over, so that no
//! message is too large for its credit. The total never goes down, so both sides agree whatever is under way.
//!
//! **How much.** The total is what is answered plus a window: a part of the node's budget for commands under way, which gets smaller with
//! the number of sessions up to a point, no more than a gateway can use and no less than a few messages. Windows shrink as the node fills, and
//! where it is full there is nothing but a message now and then ([`PROBE_AFTER`](crate::limits::CREDIT_PROBE_AFTER)), so that no
//! stream stands still for ever. Alarms have windows of their own, of the share that is kept for them, which nothing shrinks.

use std::time::Duration;

use crate::limits::{
    CREDIT_FULL_PERMILLE, CREDIT_PROBE_AFTER, CREDIT_SHRINKS_PERMILLE, CREDIT_SPEAKERS, CREDIT_WINDOW_BYTES_MAX,
    CREDIT_WINDOW_BYTES_MIN, MESSAGE_CREDIT_BYTES,
};

/// What a batch costs: the bytes of its frame, with the length before it, and a share for each message.
pub const fn cost(frame_bytes: usize, messages: usize) -> u64 {
    frame_bytes as u64 + messages as u64 * MESSAGE_CREDIT_BYTES
}

/// How full the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Budget for commands under way, in bytes.
    pub budget_bytes: u64,
    /// Of the fullest of its budgets, in thousandths; 1000 and above: whatever comes is refused.
    pub fill_permille: u64,
}

impl Load {
    /// The window of a stream, while so many sessions are open.
    ///
    /// **Invariant:** below [`CREDIT_FULL_PERMILLE`] it is at least [`CREDIT_WINDOW_BYTES_MIN`], so that every stream goes on.
    pub fn window_bytes(self, sessions: u64) -> u64 {
        if self.fill_permille >= CREDIT_FULL_PERMILLE {
            return 0;
        }
        // Most sessions are silent at any time: an equal share of thousands would leave those that speak next to nothing. Should all of them
        // speak at once, the node fills, and the windows shrink.
        let share = (self.budget_bytes / (2 * sessions.max(1))).max(self.budget_bytes / CREDIT_SPEAKERS);
        let whole = share.clamp(CREDIT_WINDOW_BYTES_MIN, CREDIT_WINDOW_BYTES_MAX);
        let left = CREDIT_FULL_PERMILLE - self.fill_permille.max(CREDIT_SHRINKS_PERMILLE);
        (whole * left / (CREDIT_FULL_PERMILLE - CREDIT_SHRINKS_PERMILLE)).max(CREDIT_WINDOW_BYTES_MIN)
    }
}

/// A batch that came without credit for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stream has credit up to {granted} bytes and {received} were used: send only below the total that the node last named"
)]
pub struct Overdrawn {
    /// The total granted.
    pub granted: u64,
    /// The total used.
    pub received: u64,
}

/// The node's side of a stream.
#[derive(Clone, Debug)]
pub struct Granter {
    granted: u64,
    received: u64,
    answered: u64,
    /// Since when there is nothing left and nothing under way.
    starved_since: Option<Duration>,
}

impl Granter {
    /// With what the welcome granted.
    pub fn new(granted: u64) -> Self {
        Self { granted, received: 0, answered: 0, starved_since: None }
    }

    /// A batch came.
    pub fn receive(&mut self, cost: u64) -> Result<(), Overdrawn> {
        if self.received >= self.granted {
            return Err(Overdrawn { granted: self.granted, received: self.received });
        }
        self.received += cost;
        Ok(())
    }

    /// A batch is answered.
    pub fn answer(&mut self, cost: u64) {
        self.answered += cost;
        debug_assert!(self.answered <= self.received, "{self:?}");
    }

    /// Grants up to a window beyond what is answered; the total from now on.
    pub fn grant(&mut self, window_bytes: u64, now: Duration) -> u64 {
        self.granted = self.granted.max(self.answered + window_bytes);
        if !self.is_starved() {
            self.starved_since = None;
        } else if now.saturating_sub(*self.starved_since.get_or_insert(now)) >= CREDIT_PROBE_AFTER {
            // Nothing to go by but the node's own figures says that it is still full: one message asks.
            self.granted = self.answered + 1;
            self.starved_since = None;
        }
        self.granted
    }

    /// Nothing left and nothing under way: no answer will bring the gateway more, so somebody has to look again.
    pub fn is_starved(&self) -> bool {
        self.received >= self.granted && self.answered == self.received
    }
}

/// The gateway's side of a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Allowance {
    /// `None`: the node gives no credit, and takes what comes or says `busy`.
    granted: Option<u64>,
    sent: u64,
    /// Sent and not answered.
    under_way: u64,
}

impl Allowance {
    /// For a new stream, with what the welcome granted.
    pub fn new(granted: Option<u64>) -> Self {
        Self { granted, sent: 0, under_way: 0 }
    }

    /// The node named a total; an older one that comes late changes nothing. `true`: it is news.
    pub fn raise(&mut self, total: u64) -> bool {
        let news = self.granted.is_some_and(|granted| total > granted);
        if news {
            self.granted = Some(total);
        }
        news
    }

    /// What is left; `None`: as much as one likes.
    pub fn left(&self) -> Option<u64> {
        Some(self.granted?.saturating_sub(self.sent))
    }

    /// May a batch go now? While others are under way it waits for a window's part that is worth a batch: else each answer
    /// would be followed by as little as it granted, and batches would only ever become smaller.
    pub fn may_send(&self) -> bool {
        match self.left() {
            None => true,
            Some(left) => left > 0 && (self.under_way == 0 || left >= self.under_way / 4),
        }
    }

    /// A batch goes.
    pub fn send(&mut self, cost: u64) {
        self.sent += cost;
        self.under_way += cost;
    }

    /// A batch was answered.
    pub fn answered(&mut self, cost: u64) {
        self.under_way = self.under_way.saturating_sub(cost);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Duration = Duration::from_secs(1);

    fn load(fill_permille: u64) -> Load {
        Load { budget_bytes: 64 << 20, fill_permille }
    }

    #[test]
    fn windows_are_parts_of_the_budget_shrink_as_the_node_fills_and_end_where_it_is_full() {
        assert_eq!(load(0).window_bytes(1), CREDIT_WINDOW_BYTES_MAX);
        assert_eq!(load(0).window_bytes(10), (64 << 20) / 20);
        assert_eq!(
            load(0).window_bytes(5_000),
            (64 << 20) / CREDIT_SPEAKERS,
            "silent sessions take nothing from others"
        );
        assert_eq!(Load { budget_bytes: 1000, fill_permille: 0 }.window_bytes(10), CREDIT_WINDOW_BYTES_MIN);
        let mut before = u64::MAX;
        for fill in 0..1200 {
            let window = load(fill).window_bytes(100);
            assert!(window <= before, "{fill}");
            assert_eq!(window == 0, fill >= CREDIT_FULL_PERMILLE, "{fill}");
            before = window;
        }
        assert_eq!(load(CREDIT_SHRINKS_PERMILLE).window_bytes(100), load(0).window_bytes(100), "not before it is due");
    }

    #[test]
    fn who_ignores_its_credit_is_told_both_totals() {
        let mut granter = Granter::new(100);
        granter.receive(99).unwrap();
        granter.receive(5000).unwrap();
        assert_eq!(granter.receive(1), Err(Overdrawn { granted: 100, received: 5099 }));
    }

    #[test]
    fn a_starved_stream_asks_now_and_then_while_the_node_is_full() {
        let mut granter = Granter::new(10);
        granter.receive(50).unwrap();
        assert!(!granter.is_starved(), "an answer will come");
        granter.answer(50);
        assert!(granter.is_starved());
        assert_eq!(granter.grant(0, NOW), 50, "nothing beyond what was used");
        assert_eq!(granter.grant(0, NOW + CREDIT_PROBE_AFTER / 2), 50);
        assert_eq!(granter.grant(0, NOW + CREDIT_PROBE_AFTER), 51);
        assert!(!granter.is_starved());
        granter.receive(50).unwrap();
        granter.answer(50);
        assert_eq!(granter.grant(0, NOW + CREDIT_PROBE_AFTER), 100, "the time begins anew");
    }

    #[test]
    fn a_gateway_whose_node_gives_no_credit_sends_as_it_likes() {
        let mut allowance = Allowance::new(None);
        allowance.send(1 << 40);
        assert!(allowance.may_send() && !allowance.raise(7));
        assert_eq!(allowance.left(), None);
    }

    /// One gateway of the model: its two sides, with what is on the way between them.
    struct Pair {
        granter: Granter,
        allowance: Allowance,
        up: Vec<u64>,
        at_node: Vec<u64>,
        down: Vec<(u64, Option<u64>)>,
        waiting: u64,
    }

    proptest! {
        /// Gateways with backlogs and a node with one budget: whatever the order of things, nobody overdraws, no more than the windows
        /// (and a batch each) is ever under way, and all of it goes at last.
        #[test]
        fn nobody_overdraws_and_nobody_stands_still(
            steps in prop::collection::vec((0_usize..8, 0_u8..5, 1_u64..6000), 0..400),
            gateways in 1_usize..8,
            budget_bytes in 1_000_u64..200_000,
        ) {
            let sessions = gateways as u64;
            let fill = |pairs: &[Pair], stuck: bool| {
                let used: u64 = pairs.iter().flat_map(|pair| &pair.at_node).sum();
                Load { budget_bytes, fill_permille: if stuck { 1000 } else { used * 1000 / budget_bytes } }
            };
            let first = Load { budget_bytes, fill_permille: 0 }.window_bytes(sessions);
            let mut pairs: Vec<Pair> = (0..gateways).map(|_| Pair {
                granter: Granter::new(first),
                allowance: Allowance::new(Some(first)),
                up: Vec::new(), at_node: Vec::new(), down: Vec::new(), waiting: 50,
            }).collect();
            let mut now = NOW;
            let mut act = |pairs: &mut Vec<Pair>, at: usize, what: u8, size: u64, stuck: bool| {
                now += Duration::from_millis(20);
                let load = fill(pairs, stuck);
                let pair = &mut pairs[at];
                match what {
                    0 if pair.waiting > 0 && pair.allowance.may_send() => {
                        // As the gateway does: what is left, or one message.
                        let cost = size.min(pair.allowance.left().unwrap()).max(900);
                        pair.allowance.send(cost);
                        pair.up.push(cost);
                        pair.waiting -= 1;
                    }
                    1 if !pair.up.is_empty() => {
                        let cost = pair.up.remove(0);
                        pair.granter.receive(cost).expect("the gateway keeps to its credit");
                        pair.at_node.push(cost);
                    }
                    2 if !pair.at_node.is_empty() => {
                        let cost = pair.at_node.remove(0);
                        pair.granter.answer(cost);
                        let total = pair.granter.grant(load.window_bytes(sessions), now);
                        pair.down.push((total, Some(cost)));
                    }
                    3 if pair.granter.is_starved() => {
                        let total = pair.granter.grant(load.window_bytes(sessions), now);
                        pair.down.push((total, None));
                    }
                    4 if !pair.down.is_empty() => {
                        let (total, answered) = pair.down.remove(0);
                        pair.allowance.raise(total);
                        if let Some(cost) = answered {
                            pair.allowance.answered(cost);
                        }
                    }
                    _ => {}
                }
                let under_way: u64 = pairs[at].up.iter().chain(&pairs[at].at_node).sum();
                assert!(under_way <= first + 900, "{under_way} of {first}");
            };
            for (step, (at, what, size)) in steps.into_iter().enumerate() {
                // The disk stands still for a while.
                act(&mut pairs, at % gateways, what, size, step > 100 && step < 200);
            }
            for _ in 0..2_000 {
                for at in 0..gateways {
                    for what in [0, 1, 2, 3, 4] {
                        act(&mut pairs, at, what, 3000, false);
                    }
                }
            }
            prop_assert!(pairs.iter().all(|pair| pair.waiting == 0 && pair.up.is_empty() && pair.at_node.is_empty()));
        }

        /// With nothing but probes everything still goes.
        #[test]
        fn a_node_that_is_always_full_is_only_asked_now_and_then(messages in 1_u64..30) {
            let mut granter = Granter::new(1);
            let (mut now, mut asked) = (NOW, 0);
            while asked < messages {
                if granter.receive(900).is_ok() {
                    granter.answer(900);
                    asked += 1;
                }
                granter.grant(0, now);
                now += CREDIT_PROBE_AFTER / 10;
            }
            let seconds = now.saturating_sub(NOW).as_secs_f64() / CREDIT_PROBE_AFTER.as_secs_f64();
            prop_assert!(seconds + 1.5 >= messages as f64, "{messages} in {seconds}");
        }
    }
}
