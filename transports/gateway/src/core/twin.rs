//! One device.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use twin_core::ids::TwinId;
use twin_core::numbers::{Boot, CallNo, Seq, Stay};
use twin_core::refusal::Refusal;

use crate::core::desired::DesiredCopy;
use crate::core::{LANES, lane_of};
use crate::limits::REFUSALS_REMEMBERED_MAX;
use crate::outbox::format::{Class, TwinRow};
use crate::outbox::lane::Lane;
use crate::receipt::NotAcked;
use crate::stay::Stays;

/// A device as this gateway knows it.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) id: TwinId,
    pub(crate) stays: Stays,
    /// By [`lane_of`] their class.
    pub(crate) lanes: [Lane; LANES],
    /// Does the application serve it?
    pub(crate) serving: bool,
    /// The last event number of this boot.
    pub(crate) last_event: Seq,
    /// Until when the class waits after a refusal.
    pub(crate) not_before: [Duration; LANES],
    /// A write that must be durable before anything newer than the drained stay is sent: else a crash could bring the older
    /// one's messages back after the newer one was attached, and they would be refused as superseded.
    pub(crate) fence: u64,
    /// The write that says under which attachment the device was attached last.
    pub(crate) remembered: u64,
    /// All state and alarms up to this stay are done, and the file says so.
    done: Stay,
    /// All events up to this boot are done, and the file says so.
    done_events: Boot,
    pub(crate) desired: DesiredCopy,
    /// The highest method call seen: lower ones are ignored.
    pub(crate) last_call: CallNo,
    /// In the heap of ready twins.
    pub(crate) queued: [bool; LANES],
    /// In the queue of attaches.
    pub(crate) attach_queued: bool,
    /// In the list of those that wait for the disk.
    pub(crate) held: bool,
    /// When it is looked at again, at the earliest.
    pub(crate) timer: Option<Duration>,
    /// A detach to send once everything is drained.
    pub(crate) detaching: Option<Stay>,
    /// Codes of the refusals of whole stays that people were told.
    told: Vec<&'static str>,
    waiters: Vec<Waiter>,
    refusals: VecDeque<Refused>,
    forgotten: [(Stay, Seq); LANES],
}

/// What became of a message.
pub(crate) type Told = oneshot::Receiver<Result<(), NotAcked>>;

#[derive(Debug)]
struct Waiter {
    class: Class,
    stay: Stay,
    number: Seq,
    reply: oneshot::Sender<Result<(), NotAcked>>,
}

#[derive(Debug)]
struct Refused {
    class: Class,
    stay: Stay,
    first: Seq,
    last: Seq,
    refusal: Arc<Refusal>,
}

impl Twin {
    pub(crate) fn new(id: TwinId) -> Self {
        Self::load(id, &TwinRow::default())
    }

    pub(crate) fn load(id: TwinId, row: &TwinRow) -> Self {
        Self {
            id,
            stays: Stays::load(row.saw, row.attached),
            lanes: Default::default(),
            serving: false,
            last_event: Seq::new(0),
            not_before: [Duration::ZERO; LANES],
            fence: 0,
            remembered: 0,
            done: row.done,
            done_events: row.done_events,
            desired: DesiredCopy::default(),
            last_call: CallNo::new(0),
            queued: [false; LANES],
            attach_queued: false,
            held: false,
            timer: None,
            detaching: None,
            told: Vec::new(),
            waiters: Vec::new(),
            refusals: VecDeque::new(),
            forgotten: Default::default(),
        }
    }

    /// Is it the first refusal of a stay with this code? Each next report may open a stay that is refused likewise, and a line for each
    /// tells nobody more. There are few codes, so the list is short.
    pub(crate) fn tells(&mut self, code: &'static str) -> bool {
        let first = !self.told.contains(&code);
        if first {
            self.told.push(code);
        }
        first
    }

    pub(crate) fn row(&self) -> TwinRow {
        TwinRow {
            saw: self.stays.saw(),
            attached: self.stays.last_attached(),
            done: self.done,
            done_events: self.done_events,
        }
    }

    /// Says the file that all of this stay is done? A row may still hold messages of it.
    pub(crate) fn is_done(&self, class: Class, stay: Stay) -> bool {
        match class {
            Class::State | Class::Alarm => stay <= self.done,
            Class::Event => stay.boot <= self.done_events,
        }
    }

    /// All state and alarms up to this stay, and all events up to this boot, are done; whether that is news.
    pub(crate) fn all_done(&mut self, stay: Stay, events: Boot) -> bool {
        let news = stay > self.done || events > self.done_events;
        self.done = self.done.max(stay);
        self.done_events = self.done_events.max(events);
        news
    }

    /// The boot whose content goes first: nothing of a later one is sent before all of it is done.
    pub(crate) fn oldest_boot(&self) -> Option<Boot> {
        self.lanes.iter().filter_map(|lane| lane.front().map(|pending| pending.stay.boot)).min()
    }

    fn front_stay(&self, class: Class) -> Option<Stay> {
        self.lanes[lane_of(class)].front().map(|pending| pending.stay)
    }

    /// The stay to have attached: that of the oldest message that needs it, or the current one of a device that is served.
    pub(crate) fn wanted_stay(&self) -> Option<Stay> {
        let alarm = self.front_stay(Class::Alarm).filter(|stay| !self.stays.is_marked(*stay));
        let front = self.front_stay(Class::State).into_iter().chain(alarm).min();
        front.or_else(|| if self.serving { self.stays.current() } else { None })
    }

    /// Must this stay wait before it is attached? Older content goes first: of an older boot all, of an older stay alarms, which the
    /// node would refuse after it.
    pub(crate) fn must_wait(&self, stay: Stay) -> bool {
        self.oldest_boot().is_some_and(|boot| boot < stay.boot)
            || self.front_stay(Class::Alarm).is_some_and(|alarm| alarm < stay)
    }

    /// Does an alarm wait for what must go before it? Then that goes before all that is not in an alarm's way.
    pub(crate) fn is_urgent(&self) -> bool {
        let next = self.lanes[lane_of(Class::Alarm)].next_unsent();
        next.is_some_and(|next| self.oldest_boot() != Some(next.stay.boot) || !self.stays.is_marked(next.stay))
    }

    /// Is all of this stay done, and of those before it?
    pub(crate) fn has_drained(&self, stay: Stay) -> bool {
        [Class::State, Class::Alarm].into_iter().all(|class| self.front_stay(class).is_none_or(|front| front > stay))
    }

    /// What became of a message; `None`: nothing yet.
    pub(crate) fn fate(&self, class: Class, stay: Stay, number: Seq) -> Option<Result<(), NotAcked>> {
        let refused = self
            .refusals
            .iter()
            .find(|r| r.class == class && r.stay == stay && r.first <= number && number <= r.last)
            .map(|r| Err(NotAcked::Refused(Arc::clone(&r.refusal))));
        if refused.is_some() {
            return refused;
        }
        if !self.lanes[lane_of(class)].is_resolved(stay, number) {
            return None;
        }
        if (stay, number) <= self.forgotten[lane_of(class)] {
            return Some(Err(NotAcked::Forgotten));
        }
        Some(Ok(()))
    }

    /// Will be told what becomes of the message.
    pub(crate) fn promise(&mut self, class: Class, stay: Stay, number: Seq) -> Told {
        let (reply, told) = oneshot::channel();
        self.waiters.push(Waiter { class, stay, number, reply });
        told
    }

    /// Something was acked: tells those who waited for it.
    pub(crate) fn tell_waiters(&mut self) {
        if self.waiters.is_empty() {
            return;
        }
        for waiter in std::mem::take(&mut self.waiters) {
            match self.fate(waiter.class, waiter.stay, waiter.number) {
                // Nobody minds if the one who asked went away.
                Some(fate) => drop(waiter.reply.send(fate)),
                None if waiter.reply.is_closed() => {}
                None => self.waiters.push(waiter),
            }
        }
    }

    /// Remembers a refusal for receipts that are asked later.
    pub(crate) fn remember_refusal(&mut self, class: Class, stay: Stay, first: Seq, last: Seq, refusal: Refusal) {
        self.refusals.push_back(Refused { class, stay, first, last, refusal: Arc::new(refusal) });
        if self.refusals.len() > REFUSALS_REMEMBERED_MAX
            && let Some(oldest) = self.refusals.pop_front()
        {
            let forgotten = &mut self.forgotten[lane_of(oldest.class)];
            *forgotten = (*forgotten).max((oldest.stay, oldest.last));
        }
        self.tell_waiters();
    }
}
