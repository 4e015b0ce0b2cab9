//! Batches up, and their answers.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, Seq, Stay};
use twin_core::refusal::Refusal;
use twin_transports::credit::Allowance;
use twin_transports::limits::{BATCH_MESSAGES_MAX, BATCHES_IN_FLIGHT_MAX, MESSAGE_CREDIT_BYTES};

use crate::core::{CLASSES, Core, LANES, Session, TwinIndex, lane_of};
use crate::limits::{ACK_TIME_STEP, BATCH_BYTES_MAX, EAGER_BATCHES, GATHER_MAX, WORTHWHILE_MESSAGES};
use crate::outbox::chunks::Left;
use crate::outbox::dictionary::PathsNeeded;
use crate::outbox::file::Filed;
use crate::outbox::format::{Class, encode_record};
use crate::outbox::queue::Write;

/// A message under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) twin: TwinIndex,
    pub(crate) key: u64,
}

/// A batch under way.
#[derive(Debug)]
pub(crate) struct UnderWay {
    sent: Vec<Sent>,
    since: Duration,
    /// Of the stream's credit.
    cost: u64,
}

/// How long batches of this session take from being sent to their ack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acks {
    /// Smoothed.
    pub(crate) usual: Duration,
    /// What the link and an idle node take.
    pub(crate) quickest: Duration,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) twin: TwinId,
    pub(crate) key: u64,
    pub(crate) stay: Stay,
    pub(crate) first: Seq,
    pub(crate) last: Seq,
    /// The row that it lies in.
    pub(crate) filed: Filed,
    /// The twin's place here.
    pub(crate) slot: TwinIndex,
    /// How much of the dictionary of paths the body needs.
    pub(crate) paths: PathsNeeded,
    /// `None`: it is on disk only.
    pub(crate) body: Option<Bytes>,
}

/// Messages that go out together.
#[derive(Debug)]
pub(crate) struct Outgoings {
    pub(crate) batch: u64,
    pub(crate) messages: Vec<Outgoing>,
}

impl Core {
    /// The next batch, if it is time for one: at once when nothing is under way, else when it is worth while. Oldest first
    /// across devices, in order within each.
    pub(crate) fn take_batch(&mut self, class: Class, now: Duration) -> Option<Outgoings> {
        self.session?;
        let lane = lane_of(class);
        let under_way = self.batches[lane].len();
        // An alarm waits for no company.
        let waits = class != Class::Alarm && under_way >= self.eager_batches() && !self.worth_while(class);
        if under_way >= BATCHES_IN_FLIGHT_MAX || waits {
            return None;
        }
        if !self.credit[lane].may_send() {
            // What is not sent is safe in the outbox; the node says when there is credit again.
            self.counters.credit_waits += u64::from(!self.ready[lane].is_empty());
            return None;
        }
        let mut left = self.credit[lane].left().unwrap_or(u64::MAX);
        let batch = self.next_batch[lane];
        let mut messages = Vec::with_capacity(BATCH_MESSAGES_MAX);
        let mut sent = Vec::with_capacity(BATCH_MESSAGES_MAX);
        let mut size_bytes = 0;
        while messages.len() < BATCH_MESSAGES_MAX
            && let Some(Reverse((_, index))) = self.ready[lane].pop()
        {
            self.twin_mut(index).queued[lane] = false;
            while messages.len() < BATCH_MESSAGES_MAX
                && let Some(key) = self.next_key_to_send(index, class, now)
            {
                let rank = self.rank(index, class, key);
                let older_elsewhere = self.ready[lane].peek().is_some_and(|Reverse((other, _))| *other < rank);
                let twin = &mut self.twins[index as usize];
                let next_bytes = twin.lanes[lane].next_unsent().map_or(0, |next| u64::from(next.body_bytes));
                let next_cost = next_bytes + 64 + MESSAGE_CREDIT_BYTES;
                // The first goes in any case: no message is too large for its credit.
                let too_dear = next_cost > left && !messages.is_empty();
                let too_large = size_bytes + next_bytes > BATCH_BYTES_MAX && !messages.is_empty();
                if too_dear {
                    left = 0;
                }
                if older_elsewhere || too_dear || too_large {
                    break;
                }
                left = left.saturating_sub(next_cost);
                let Some(pending) = twin.lanes[lane].send_next(batch) else { break };
                size_bytes += next_bytes + 64;
                sent.push(Sent { twin: index, key });
                let body = if let Some(stand_in) = &pending.stand_in {
                    Some(stand_in.encoded.clone())
                } else {
                    if self.chunks.is_open(pending.chunk) {
                        self.chunks.seal(&mut self.writes);
                    }
                    self.chunks.slice(pending.chunk, pending.at, pending.body_bytes)
                };
                messages.push(Outgoing {
                    twin: twin.id.clone(),
                    key,
                    stay: pending.stay,
                    first: pending.first,
                    last: pending.last,
                    filed: (self.chunks.key(pending.chunk).unwrap_or(0), key),
                    slot: index,
                    paths: if pending.stand_in.is_some() { 0 } else { pending.paths },
                    body,
                });
            }
            self.refresh(index, now);
            if left == 0 || size_bytes > BATCH_BYTES_MAX - 40 * 1024 {
                break;
            }
        }
        if messages.is_empty() {
            return None;
        }
        self.next_batch[lane] += 1;
        self.batches[lane].insert(batch, UnderWay { sent, since: now, cost: 0 });
        self.counters.sent += messages.len() as u64;
        self.counters.batches += 1;
        Some(Outgoings { batch, messages })
    }

    /// With so many batches under way, a further one must be worth while.
    fn eager_batches(&self) -> usize {
        // Where the ack comes soon, what is reported meanwhile goes together: small batches cost both sides more than the wait.
        if self.acks.is_some_and(|acks| acks.usual <= GATHER_MAX) { 1 } else { EAGER_BATCHES }
    }

    /// The messages of the batch from this place on do not fit into a frame with the others: they go with the next one.
    pub(crate) fn take_back(&mut self, class: Class, batch: u64, from: usize, now: Duration) {
        let Some(under_way) = self.batches[lane_of(class)].get_mut(&batch) else { return };
        let back = under_way.sent.split_off(from.min(under_way.sent.len()));
        if under_way.sent.is_empty() {
            // Not sent at all, so its number is free.
            self.batches[lane_of(class)].remove(&batch);
            self.next_batch[lane_of(class)] = batch;
        }
        for message in back {
            let lane = &mut self.twins[message.twin as usize].lanes[lane_of(class)];
            if let Some(index) = lane.position_refused(message.key, batch) {
                lane.rewind(index);
            }
            self.refresh(message.twin, now);
        }
    }

    fn worth_while(&self, class: Class) -> bool {
        let mut messages = 0;
        // A few of the ready tell enough.
        for Reverse((_, index)) in self.ready[lane_of(class)].iter().take(WORTHWHILE_MESSAGES) {
            messages += self.twins[*index as usize].lanes[lane_of(class)].unsent();
            if messages >= WORTHWHILE_MESSAGES {
                return true;
            }
        }
        false
    }

    /// The answer to a batch: what is not refused is committed and leaves the outbox; nothing else makes it leave.
    pub(crate) fn batch_acked(&mut self, class: Class, batch: u64, refused: Vec<(u32, Refusal)>, now: Duration) {
        let Some(UnderWay { sent, since, cost }) = self.batches[lane_of(class)].remove(&batch) else { return };
        self.credit[lane_of(class)].answered(cost);
        let took = now.saturating_sub(since);
        self.ack_took(took);
        let mut refused = refused.into_iter().peekable();
        let mut touched: Vec<TwinIndex> = Vec::new();
        let mut refusals = Vec::new();
        for (place, message) in sent.into_iter().enumerate() {
            if touched.last() != Some(&message.twin) {
                touched.push(message.twin);
            }
            match refused.next_if(|(index, _)| *index as usize == place) {
                Some((_, refusal)) => refusals.push((message, refusal)),
                None => self.accepted(message, class),
            }
        }
        for (message, refusal) in refusals {
            self.refused(message, class, batch, refusal, now);
        }
        touched.sort_unstable();
        touched.dedup();
        for index in touched {
            self.twin_mut(index).tell_waiters();
            self.refresh(index, now);
        }
        self.wakes.of(class);
    }

    /// The batch went out, and costs so much of the stream's credit.
    pub(crate) fn charged(&mut self, class: Class, batch: u64, cost: u64) {
        let Some(under_way) = self.batches[lane_of(class)].get_mut(&batch) else { return };
        under_way.cost = cost;
        self.credit[lane_of(class)].send(cost);
    }

    /// The node named a total for the stream.
    pub(crate) fn credited(&mut self, class: Class, total: u64) {
        if self.credit[lane_of(class)].raise(total) {
            self.wakes.of(class);
        }
    }

    /// What is left of the credit of a class; `None`: the session has none, so that all goes at once.
    pub(crate) fn credit_left(&self, class: Class) -> Option<u64> {
        self.session.and_then(|_| self.credit[lane_of(class)].left())
    }

    /// A packet took so long there and back; with much to do on either side it takes longer than the link does.
    pub(crate) fn link_took(&mut self, round_trip: Duration) {
        self.round_trip = self.round_trip.min(round_trip);
    }

    /// An ack took so long: a quarter of the news each time, but no outlier doubles what is usual. A node that writes a
    /// checkpoint answers a few batches late.
    fn ack_took(&mut self, took: Duration) {
        self.acks = Some(match self.acks {
            Some(Acks { usual, quickest }) => {
                Acks { usual: (3 * usual + took.min(2 * usual + ACK_TIME_STEP)) / 4, quickest: quickest.min(took) }
            }
            None => Acks { usual: took, quickest: took },
        });
    }

    fn accepted(&mut self, message: Sent, class: Class) {
        let twin = &mut self.twins[message.twin as usize];
        twin.stays.taken();
        let lane = &mut twin.lanes[lane_of(class)];
        let Some(gone) = lane.position(message.key).and_then(|index| lane.remove(index)) else { return };
        let known = twin.remembered <= self.writes.durable();
        self.counters.acked += u64::from(gone.key != 0);
        self.forget(&gone, if known { Left::Acked } else { Left::AckedUnknown });
        self.raise_fence(message.twin, gone.stay);
    }

    /// If that was the last of an older stay, what is newer waits until it is durable that it is done (see
    /// [`crate::core::twin::Twin::fence`]). The device's row says so: the messages' own rows may stay for others'.
    pub(crate) fn raise_fence(&mut self, index: TwinIndex, gone: Stay) {
        let boot = self.boot;
        let twin = self.twin_mut(index);
        let older_boot_done = gone.boot < boot && twin.oldest_boot() != Some(gone.boot);
        let older_stay_done = gone.counter != 0 && twin.stays.current() != Some(gone) && twin.has_drained(gone);
        let news = match (older_boot_done, older_stay_done) {
            (true, _) => twin.all_done(Stay { boot: gone.boot, counter: u32::MAX }, gone.boot),
            (false, true) => twin.all_done(gone, Boot::new(0)),
            (false, false) => return,
        };
        if news {
            let write = Write::Twin { id: twin.id.clone(), row: encode_record(&twin.row()) };
            let number = self.writes.push_lazy(write);
            self.twin_mut(index).fence = number;
            self.wakes.writer = true;
        }
    }

    /// A session is open; `false`: its owner is lower than one seen before, and nothing it says counts.
    pub(crate) fn connected(&mut self, session: Session, now: Duration) -> bool {
        if session.owner < self.owner {
            self.counters.stale_owner_frames += 1;
            return false;
        }
        self.session = Some(session);
        self.acks = None;
        self.round_trip = Duration::MAX;
        // New streams count their batches anew; nothing is under way in old ones.
        self.next_batch = [1; LANES];
        let first = |class| match class {
            Class::State => session.credit.map(|credit| credit.state),
            Class::Event => session.credit.map(|credit| credit.telemetry),
            Class::Alarm => session.credit.map(|credit| credit.alarms),
        };
        for class in CLASSES {
            self.credit[lane_of(class)] = Allowance::new(first(class));
        }
        self.session_refusal = None;
        self.session_failure = None;
        self.owner = session.owner;
        self.counters.sessions += 1;
        for index in 0..self.twins.len() as TwinIndex {
            self.refresh(index, now);
        }
        self.wakes.control = true;
        self.wakes.state = true;
        self.wakes.event = true;
        self.wakes.alarm = true;
        true
    }

    /// The session is over: everything under way is sent again in the next one, from the first that is not acked.
    pub(crate) fn disconnected(&mut self) {
        self.session = None;
        // What was patient waited for acks that do not come.
        self.writes.urge();
        self.wakes.writer = true;
        for class in CLASSES {
            self.ready[lane_of(class)].clear();
            self.batches[lane_of(class)].clear();
        }
        self.attach_queue.clear();
        self.attaches.clear();
        self.received.clear();
        self.call_results.clear();
        for twin in &mut self.twins {
            twin.queued = [false; LANES];
            twin.attach_queued = false;
            twin.desired.confirming = false;
            twin.stays.disconnected();
            for lane in &mut twin.lanes {
                lane.rewind(0);
            }
        }
    }

    /// The message at this place of the batch cannot be sent: it is as good as refused. What follows it goes with the next one.
    pub(crate) fn cannot_send(
        &mut self,
        class: Class,
        batch: u64,
        place: usize,
        key: u64,
        refusal: Refusal,
        now: Duration,
    ) {
        let Some(twin) =
            self.batches[lane_of(class)].get(&batch).and_then(|batch| batch.sent.get(place)).map(|sent| sent.twin)
        else {
            return;
        };
        self.refused(Sent { twin, key }, class, batch, refusal, now);
        self.take_back(class, batch, place, now);
        self.refresh(twin, now);
    }
}
