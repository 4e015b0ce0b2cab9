//! What may happen next to a device. Looked at again after every step that concerns it, so the conditions stand in one place.

use std::cmp::Reverse;
use std::time::Duration;

use crate::core::{CLASSES, Core, TwinIndex, lane_of};
use crate::outbox::format::Class;
use crate::stay::Link;

/// May the next message of a class be sent?
enum Sendable {
    /// This one (by its key).
    Now(u64),
    /// At this time.
    At(Duration),
    /// Once the disk is further.
    Held,
    /// Not before something else happens, which looks here again.
    No,
}

impl Core {
    /// Puts the device where it will be found: among the ready, those to attach, those that wait for disk or time.
    pub(crate) fn refresh(&mut self, index: TwinIndex, now: Duration) {
        if self.session.is_none() {
            return;
        }
        self.refresh_attach(index, now);
        for class in CLASSES {
            self.refresh_class(index, class, now);
        }
        self.refresh_detach(index);
    }

    fn refresh_class(&mut self, index: TwinIndex, class: Class, now: Duration) {
        if self.twins[index as usize].queued[lane_of(class)] {
            return;
        }
        match self.sendable(index, class, now) {
            Sendable::Now(key) => {
                self.twin_mut(index).queued[lane_of(class)] = true;
                let rank = self.rank(index, class, key);
                self.ready[lane_of(class)].push(Reverse((rank, index)));
                self.wakes.of(class);
            }
            Sendable::At(time) => self.look_again_at(index, time),
            Sendable::Held => self.hold(index),
            Sendable::No => {}
        }
    }

    /// Its place among the ready: by age, but what is in the way of an alarm goes first.
    pub(crate) fn rank(&self, index: TwinIndex, class: Class, key: u64) -> u64 {
        let in_the_way = class != Class::Alarm && self.twins[index as usize].is_urgent();
        if in_the_way { 0 } else { key }
    }

    /// An alarm came: what is in its way and was put among the others before goes first now. Where it stood it is found twice, which
    /// does no harm.
    pub(crate) fn expedite(&mut self, index: TwinIndex) {
        let twin = &self.twins[index as usize];
        if !twin.is_urgent() {
            return;
        }
        if twin.attach_queued {
            self.attach_queue.push_front(index);
        }
        for class in [Class::State, Class::Event] {
            if twin.queued[lane_of(class)] {
                self.ready[lane_of(class)].push(Reverse((0, index)));
            }
        }
    }

    fn sendable(&self, index: TwinIndex, class: Class, now: Duration) -> Sendable {
        let twin = &self.twins[index as usize];
        let Some(next) = twin.lanes[lane_of(class)].next_unsent() else { return Sendable::No };
        if twin.oldest_boot() != Some(next.stay.boot) {
            return Sendable::No;
        }
        if class == Class::State && twin.stays.link() != Link::Attached(next.stay) {
            return Sendable::No;
        }
        let takes_alarms = self.session.is_some_and(|session| session.alarms);
        if class == Class::Alarm && !(takes_alarms && twin.stays.is_marked(next.stay)) {
            return Sendable::No;
        }
        let durable = self.writes.durable();
        if next.hold > durable || (class == Class::Event && twin.fence > durable) {
            return Sendable::Held;
        }
        match twin.not_before[lane_of(class)] {
            time if time > now => Sendable::At(time),
            _ => Sendable::Now(next.key),
        }
    }

    /// Can the next message of the class go out? Its key then.
    pub(crate) fn next_key_to_send(&self, index: TwinIndex, class: Class, now: Duration) -> Option<u64> {
        match self.sendable(index, class, now) {
            Sendable::Now(key) => Some(key),
            _ => None,
        }
    }

    fn refresh_attach(&mut self, index: TwinIndex, now: Duration) {
        let durable = self.writes.durable();
        let twin = &self.twins[index as usize];
        let Some(stay) = twin.wanted_stay() else { return };
        if twin.attach_queued || twin.must_wait(stay) {
            return;
        }
        if twin.stays.wants_attach(stay, now) {
            if twin.fence > durable {
                self.hold(index);
                return;
            }
            let twin = self.twin_mut(index);
            twin.attach_queued = true;
            if twin.is_urgent() {
                self.attach_queue.push_front(index);
            } else {
                self.attach_queue.push_back(index);
            }
            self.wakes.control = true;
        } else if let Link::Waiting { until, .. } = twin.stays.link() {
            self.look_again_at(index, until);
        }
    }

    fn refresh_detach(&mut self, index: TwinIndex) {
        let twin = self.twin_mut(index);
        let drained = twin.lanes.iter().all(crate::outbox::lane::Lane::is_empty);
        if drained && let Some(stay) = twin.detaching.take() {
            let id = twin.id.clone();
            self.detach_queue.push_back((id, stay));
            self.wakes.control = true;
        }
    }

    /// Looks at the device again once the disk is further.
    fn hold(&mut self, index: TwinIndex) {
        self.writes.urge();
        self.wakes.writer = true;
        if !std::mem::replace(&mut self.twin_mut(index).held, true) {
            self.held.push(index);
        }
    }

    /// Looks at the device again at this time.
    pub(crate) fn look_again_at(&mut self, index: TwinIndex, time: Duration) {
        let twin = &mut self.twins[index as usize];
        if twin.timer.is_some_and(|timer| timer <= time) {
            return;
        }
        twin.timer = Some(time);
        let earliest = self.timers.peek().is_none_or(|Reverse((first, _))| time < *first);
        self.timers.push(Reverse((time, index)));
        // The control loop keeps the time.
        self.wakes.control |= earliest;
    }

    /// Looks at all devices whose time has come; returns when to come again.
    pub(crate) fn tick(&mut self, now: Duration) -> Option<Duration> {
        while let Some(Reverse((time, index))) = self.timers.peek().copied() {
            if time > now {
                return Some(time);
            }
            self.timers.pop();
            let twin = self.twin_mut(index);
            if twin.timer == Some(time) {
                twin.timer = None;
            }
            self.refresh(index, now);
        }
        None
    }
}
