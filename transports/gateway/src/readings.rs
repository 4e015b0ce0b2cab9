//! Readings of twins under way, as plain data behind a lock of their own: who asks, what was sent, what is to be asked again.
//!
//! Whoever asks at the same time shares frames. **Invariant:** what was asked is answered once: by the node, by the deadline, or by
//! the gateway's end. A session that ends answers nothing: what it left is asked again in the next one. So is what the node
//! refused for the moment, once the time it named has come. That is safe because a reading changes nothing, and the answer
//! that counts is of a reading begun after the application asked.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::view::TwinView;
use twin_transports::frames::readings::Views;
use twin_transports::limits::{READ_TWINS_MAX, READS_IN_FLIGHT_MAX};

use crate::error::GetError;
use crate::limits::{EAGER_BATCHES, READINGS_MAX, RETRY_AFTER_MAX, WORTHWHILE_MESSAGES};

/// What became of each twin that was asked for, in that order.
pub(crate) type Viewed = Vec<Result<TwinView, Refusal>>;

/// How the gateway stands with the node, as far as readings go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Link {
    /// No session, and none in sight.
    #[default]
    Away,
    /// A session.
    Open,
    /// The session ended because its node answers on another connection: the next one is being opened.
    Replacing,
}

/// One call of the application.
#[derive(Debug)]
struct Ask {
    twins: Vec<TwinId>,
    results: Vec<Option<Result<TwinView, Refusal>>>,
    /// So many of them are still to come.
    left: usize,
    deadline: Duration,
    reply: oneshot::Sender<Viewed>,
}

/// Twins of a call that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    ask: u64,
    first: usize,
    count: usize,
}

/// A frame that was sent.
#[derive(Debug)]
struct Sent {
    runs: Vec<Run>,
    /// Twins of it that are answered.
    answered: usize,
}

/// A frame to be sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Outgoing {
    pub(crate) request: u64,
    pub(crate) twins: Vec<TwinId>,
}

/// A call that is answered; carried out without the lock.
#[derive(Debug)]
pub(crate) struct Answered {
    reply: oneshot::Sender<Viewed>,
    results: Viewed,
}

impl Answered {
    pub(crate) fn tell(self) {
        // Whoever asked may have given up.
        drop(self.reply.send(self.results));
    }
}

/// All readings under way.
#[derive(Debug, Default)]
pub(crate) struct Readings {
    link: Link,
    asks: HashMap<u64, Ask, RandomState>,
    next_ask: u64,
    /// Twins of all asks.
    twins: usize,
    /// To be sent, oldest first.
    waiting: VecDeque<Run>,
    /// Twins of those.
    waiting_twins: usize,
    /// To be sent at a time, for the node said so.
    later: BTreeMap<Duration, Vec<Run>>,
    sent: HashMap<u64, Sent, RandomState>,
    next_request: u64,
}

impl Readings {
    /// Takes a call. Where there is no session, and none is about to be, it is refused at once.
    pub(crate) fn ask(
        &mut self,
        twins: Vec<TwinId>,
        deadline: Duration,
    ) -> Result<oneshot::Receiver<Viewed>, GetError> {
        if self.link == Link::Away {
            return Err(GetError::NotConnected);
        }
        if self.twins + twins.len() > READINGS_MAX {
            self.forget_closed();
        }
        if self.twins + twins.len() > READINGS_MAX {
            return Err(GetError::Busy);
        }
        let (reply, receiver) = oneshot::channel();
        let count = twins.len();
        let ask = self.next_ask;
        self.next_ask += 1;
        self.twins += count;
        let mut results = Vec::new();
        results.resize_with(count, || None);
        self.asks.insert(ask, Ask { twins, results, left: count, deadline, reply });
        self.wait(Run { ask, first: 0, count });
        Ok(receiver)
    }

    /// Is a session open, or about to be?
    pub(crate) fn is_linked(&self) -> bool {
        self.link != Link::Away
    }

    /// Those whose callers gave up leave room.
    fn forget_closed(&mut self) {
        let twins = &mut self.twins;
        self.asks.retain(|_, ask| {
            let open = !ask.reply.is_closed();
            *twins -= if open { 0 } else { ask.twins.len() };
            open
        });
        let asks = &self.asks;
        let waiting_twins = &mut self.waiting_twins;
        self.waiting.retain(|run| {
            let open = asks.contains_key(&run.ask);
            *waiting_twins -= if open { 0 } else { run.count };
            open
        });
    }

    fn wait(&mut self, run: Run) {
        self.waiting_twins += run.count;
        self.waiting.push_back(run);
    }

    /// A session opened.
    pub(crate) fn connected(&mut self) {
        self.link = Link::Open;
    }

    /// The session is about to end, and another one to open.
    pub(crate) fn replacing(&mut self) {
        self.link = Link::Replacing;
    }

    /// There will be no session for now.
    pub(crate) fn away(&mut self) {
        self.link = Link::Away;
    }

    /// The session is over: what it did not answer is asked again in the next one, before anything newer.
    pub(crate) fn disconnected(&mut self) {
        if self.link == Link::Open {
            self.link = Link::Away;
        }
        let mut sent: Vec<(u64, Sent)> = self.sent.drain().collect();
        sent.sort_unstable_by_key(|(request, _)| *request);
        for (_, sent) in sent.into_iter().rev() {
            for run in rest(sent).into_iter().rev() {
                self.waiting_twins += run.count;
                self.waiting.push_front(run);
            }
        }
    }

    /// The next frame, if there is one to send now; else when to look again, if that is known.
    pub(crate) fn take(&mut self, now: Duration) -> Result<Outgoing, Option<Duration>> {
        while let Some(entry) = self.later.first_entry()
            && *entry.key() <= now
        {
            for run in entry.remove() {
                self.wait(run);
            }
        }
        let under_way = self.sent.len();
        let worthwhile = under_way < EAGER_BATCHES || self.waiting_twins >= WORTHWHILE_MESSAGES;
        if self.waiting.is_empty() || under_way >= READS_IN_FLIGHT_MAX || !worthwhile {
            return Err(self.later.first_key_value().map(|(time, _)| *time));
        }
        let mut twins = Vec::with_capacity(self.waiting_twins.min(READ_TWINS_MAX));
        let mut runs = Vec::new();
        while twins.len() < READ_TWINS_MAX
            && let Some(mut run) = self.waiting.pop_front()
        {
            self.waiting_twins -= run.count;
            // Its caller may have given up.
            let Some(ask) = self.asks.get(&run.ask).filter(|ask| !ask.reply.is_closed()) else {
                self.remove(run.ask);
                continue;
            };
            let room = READ_TWINS_MAX - twins.len();
            if run.count > room {
                let rest = Run { first: run.first + room, count: run.count - room, ..run };
                self.waiting_twins += rest.count;
                self.waiting.push_front(rest);
                run.count = room;
            }
            twins.extend_from_slice(&ask.twins[run.first..run.first + run.count]);
            runs.push(run);
        }
        if twins.is_empty() {
            return self.take(now);
        }
        self.next_request += 1;
        self.sent.insert(self.next_request, Sent { runs, answered: 0 });
        Ok(Outgoing { request: self.next_request, twins })
    }

    /// An answer, or a part of one. Says which calls are answered now, and whether the request is.
    pub(crate) fn answered(&mut self, views: Views, now: Duration) -> (Vec<Answered>, bool) {
        let Views { request, first, results } = views;
        let Some(mut sent) = self.sent.remove(&request) else { return (Vec::new(), false) };
        if first as usize != sent.answered {
            // Out of order: as good as no answer. It is asked again with what is left.
            tracing::warn!(request, first, expected = sent.answered, "views came out of order");
            self.later(now, rest(sent));
            return (Vec::new(), true);
        }
        let from = sent.answered;
        let total: usize = sent.runs.iter().map(|run| run.count).sum();
        let to = total.min(from + results.len());
        let mut results = results.into_iter();
        let mut done = Vec::new();
        // Where in the request a run begins.
        let mut at = 0;
        for run in &sent.runs {
            let (first, last) = (from.max(at), to.min(at + run.count));
            if first < last {
                self.fill(Run { first: run.first + first - at, count: last - first, ..*run }, &mut results, now);
                if self.asks.get(&run.ask).is_some_and(|ask| ask.left == 0) {
                    done.extend(self.remove(run.ask).map(Ask::answer));
                }
            }
            at += run.count;
        }
        sent.answered = to;
        let complete = to == total;
        if !complete {
            self.sent.insert(request, sent);
        }
        (done, complete)
    }

    fn remove(&mut self, ask: u64) -> Option<Ask> {
        let ask = self.asks.remove(&ask)?;
        self.twins -= ask.twins.len();
        Some(ask)
    }

    fn fill(&mut self, run: Run, results: &mut impl Iterator<Item = Result<bytes::Bytes, Refusal>>, now: Duration) {
        let Some(ask) = self.asks.get_mut(&run.ask) else {
            // Given up; its answers are passed.
            results.by_ref().take(run.count).for_each(drop);
            return;
        };
        let mut again = Vec::new();
        for (place, result) in (run.first..run.first + run.count).zip(results) {
            if let Err(refusal) = &result
                && let Some(pause) = refusal.retry_after()
                && now + pause.min(RETRY_AFTER_MAX) < ask.deadline
            {
                again.push((now + pause.min(RETRY_AFTER_MAX), Run { ask: run.ask, first: place, count: 1 }));
                continue;
            }
            ask.left -= usize::from(ask.results[place].is_none());
            ask.results[place] = Some(result.map(TwinView::new));
        }
        for (time, run) in again {
            self.later(time, vec![run]);
        }
    }

    fn later(&mut self, time: Duration, runs: Vec<Run>) {
        self.later.entry(time).or_default().extend(runs);
    }
}

impl Ask {
    /// All of it is there.
    fn answer(self) -> Answered {
        Answered { reply: self.reply, results: self.results.into_iter().flatten().collect() }
    }
}

/// What of a frame is not answered yet.
fn rest(sent: Sent) -> Vec<Run> {
    let mut passed = sent.answered;
    let unanswered = |run: Run| {
        let answered = passed.min(run.count);
        passed -= answered;
        Run { first: run.first + answered, count: run.count - answered, ..run }
    };
    sent.runs.into_iter().map(unanswered).filter(|run| run.count > 0).collect()
}

#[cfg(test)]
mod tests;
