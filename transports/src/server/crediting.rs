//! The node's side of credit: what a stream is granted, and who looks again when it was nothing.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until};
use twin_core::limits::ALARM_RESERVE_PART;

use super::backend::Backend;
use super::stats::TransportStats;
use crate::credit::{Granter, Load, Overdrawn};
use crate::frames::session::{FirstCredit, StreamClass};
use crate::limits::CREDIT_LOOK_INTERVAL;

/// What the streams of a new session may use before the node has said more: their windows, and a few messages where the node is full.
pub(super) fn first_credit<B: Backend>(backend: &B, stats: &TransportStats) -> FirstCredit {
    let window = |class| window_bytes(class, backend.load(), stats).max(1);
    FirstCredit {
        state: window(StreamClass::State),
        telemetry: window(StreamClass::Telemetry),
        alarms: window(StreamClass::Alarms),
    }
}

/// **Invariant:** no fill of the node shrinks the window of alarms: it is of the share of the budget that only they may use.
fn window_bytes(class: StreamClass, load: Load, stats: &TransportStats) -> u64 {
    let load = match class {
        StreamClass::Alarms => Load { budget_bytes: load.budget_bytes / ALARM_RESERVE_PART, fill_permille: 0 },
        _ => load,
    };
    load.window_bytes(stats.sessions_open.get())
}

/// What is found when somebody looks again.
enum Look {
    /// The node is still full.
    Starves,
    /// An answer gave credit meanwhile.
    Goes,
    /// Up to this total.
    Credit(u64),
}

/// Credit of one stream.
pub(super) struct StreamCredit {
    class: StreamClass,
    granter: Mutex<Granter>,
    load: Box<dyn Fn() -> Load + Send + Sync>,
    stats: Arc<TransportStats>,
    starved: Notify,
    begun: Instant,
}

impl StreamCredit {
    pub(super) fn new<B: Backend>(
        class: StreamClass,
        first: FirstCredit,
        backend: &Arc<B>,
        stats: &Arc<TransportStats>,
    ) -> Arc<Self> {
        let first = match class {
            StreamClass::Alarms => first.alarms,
            StreamClass::Telemetry => first.telemetry,
            _ => first.state,
        };
        let backend = backend.clone();
        Arc::new(Self {
            class,
            granter: Mutex::new(Granter::new(first)),
            load: Box::new(move || backend.load()),
            stats: stats.clone(),
            starved: Notify::new(),
            begun: Instant::now(),
        })
    }

    /// A batch came.
    pub(super) fn receive(&self, cost: u64) -> Result<(), Overdrawn> {
        self.granter.lock().receive(cost)
    }

    /// A batch is answered; the total that the answer names.
    pub(super) fn answer(&self, cost: u64) -> u64 {
        let window_bytes = window_bytes(self.class, (self.load)(), &self.stats);
        let mut granter = self.granter.lock();
        granter.answer(cost);
        let total = granter.grant(window_bytes, self.begun.elapsed());
        if granter.is_starved() {
            self.stats.credit_withheld.add(1);
            self.starved.notify_one();
        }
        total
    }

    /// What became of a starved stream.
    fn look_again(&self) -> Look {
        let window_bytes = window_bytes(self.class, (self.load)(), &self.stats);
        let mut granter = self.granter.lock();
        if !granter.is_starved() {
            return Look::Goes;
        }
        let total = granter.grant(window_bytes, self.begun.elapsed());
        if granter.is_starved() { Look::Starves } else { Look::Credit(total) }
    }

    /// While nothing is under way no answer brings credit: looks for it until there is some. Ends with its receiver.
    pub(super) async fn watch<T>(&self, credits: mpsc::WeakSender<T>, say: impl Fn(u64) -> T) {
        loop {
            self.starved.notified().await;
            let total = loop {
                sleep_until(Instant::now() + CREDIT_LOOK_INTERVAL).await;
                match self.look_again() {
                    Look::Starves => {}
                    Look::Goes => break None,
                    Look::Credit(total) => break Some(total),
                }
            };
            let Some(total) = total else { continue };
            let Some(sender) = credits.upgrade() else { return };
            self.stats.credit_frames.add(1);
            // Never full: there is a place beside those of the answers. Closed: the session is over.
            let _over = sender.try_send(say(total));
        }
    }
}
