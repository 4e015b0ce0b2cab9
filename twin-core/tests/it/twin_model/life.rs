//! The naive model of one life.

use std::collections::{BTreeMap, BTreeSet};

use twin_core::command::{Answer, Sender};
use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_core::merge::apply_ops;
use twin_core::numbers::{Boot, OutboxId, Stay};
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;

use super::act::{Body, Who};

/// One life, naively.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) base: u64,
    pub(super) tags: Value,
    pub(super) desired: Value,
    pub(super) reported: Value,
    pub(super) versions: [u64; 3],
    pub(super) attachment: u64,
    pub(super) attached: bool,
    /// Per gateway its stay and the number that it attached under.
    pub(super) stays: BTreeMap<usize, (Who, u64)>,
    /// Numbers that took effect or were lost, per stay under its attachment.
    pub(super) taken: BTreeMap<u64, BTreeSet<u64>>,
    /// The last alarm number that was seen, per stay under its attachment.
    pub(super) alarm_marks: BTreeMap<u64, u64>,
    /// Alarms taken in this life: the number of the last, and who raised each.
    pub(super) last_alarm: u64,
    pub(super) alarms: Vec<(u64, usize)>,
    /// Events per (gateway, outbox, boot); and the highest boot heard of a gateway's last outbox.
    pub(super) events: BTreeMap<(usize, u8, u64), u64>,
    pub(super) event_boot: BTreeMap<usize, (u8, u64)>,
    pub(super) acked: u64,
    pub(super) delivered: u64,
    /// Every value that `desired` had, by version.
    pub(super) history: BTreeMap<u64, Value>,
}

pub(super) fn gateway(index: usize) -> GatewayId {
    GatewayId { site: SiteId::default_site(), name: GatewayName::new(&format!("bs{index}")).unwrap() }
}

impl Who {
    pub(super) fn sender(self) -> Sender {
        Sender {
            gateway: gateway(self.gateway),
            outbox: OutboxId([self.outbox; 16]),
            stay: Stay { boot: Boot::new(self.boot), counter: self.counter },
        }
    }

    pub(super) fn stay(self) -> (u64, u32) {
        (self.boot, self.counter)
    }
}

#[derive(Debug, PartialEq)]
pub(super) enum Expected {
    Done,
    Duplicate,
    Attached(u64),
    Document,
    Delta,
    Refused(&'static str),
    Gap(u64),
    Conflict(u64),
}

pub(super) fn outcome(answer: &Result<Answer, Refusal>) -> Expected {
    match answer {
        Ok(Answer::Done) => Expected::Done,
        Ok(Answer::Duplicate) => Expected::Duplicate,
        Ok(Answer::Attached { attachment, .. }) => Expected::Attached(attachment.get()),
        Ok(Answer::Document { .. } | Answer::View { .. }) => Expected::Document,
        Ok(Answer::Delta(_)) => Expected::Delta,
        Ok(Answer::Alarms(_)) => panic!("nobody reads them here"),
        Ok(Answer::CallOpened { .. } | Answer::CallKnown { .. } | Answer::Steered { .. } | Answer::Once(_)) => {
            panic!("no calls, no brief steering and no keys here")
        }
        Err(Refusal::Gap { next }) => Expected::Gap(next.get()),
        Err(Refusal::Conflict { last }) => Expected::Conflict(last.get()),
        Err(refusal) => Expected::Refused(refusal.code()),
    }
}

impl Life {
    pub(super) fn new(floor: u64) -> Self {
        let (empty, first) = (Value::empty_object(), floor + 1);
        let mut life = Self {
            base: floor,
            tags: empty.clone(),
            desired: empty.clone(),
            reported: empty,
            versions: [first; 3],
            attachment: floor,
            ..Self::default()
        };
        life.history.insert(first, life.desired.clone());
        life
    }

    pub(super) fn set_desired(&mut self, desired: Value) {
        if desired != self.desired {
            self.versions[1] += 1;
            self.desired = desired;
            self.history.insert(self.versions[1], self.desired.clone());
        }
    }

    pub(super) fn attach(&mut self, who: Who, saw: u64) -> Expected {
        if let Some((stay, number)) = self.stays.get(&who.gateway).filter(|(stay, _)| stay.outbox == who.outbox) {
            if who.stay() < stay.stay() {
                return Expected::Refused("superseded");
            }
            if who.stay() == stay.stay() {
                self.attached |= *number == self.attachment;
                return Expected::Attached(*number);
            }
        }
        if saw != self.attachment && self.attachment != self.base {
            return Expected::Conflict(self.attachment);
        }
        self.attachment += 1;
        self.attached = true;
        self.stays.insert(who.gateway, (who, self.attachment));
        Expected::Attached(self.attachment)
    }

    /// The attachment number of a stay that attached and is its gateway's last.
    pub(super) fn stay(&self, who: Who) -> Result<u64, Expected> {
        match self.stays.get(&who.gateway) {
            Some((stay, number)) if *stay == who => Ok(*number),
            Some((stay, _)) if stay.outbox == who.outbox && who.stay() < stay.stay() => {
                Err(Expected::Refused("superseded"))
            }
            _ => Err(Expected::Refused("not-attached")),
        }
    }

    pub(super) fn state(&mut self, who: Who, first: u64, last: u64, body: &Body) -> Expected {
        if first == 0 || last < first {
            return Expected::Refused("invalid");
        }
        let number = match self.stay(who) {
            Ok(number) => number,
            Err(expected) => return expected,
        };
        let taken = self.taken.entry(number).or_default();
        if (first..=last).all(|seq| taken.contains(&seq)) {
            return Expected::Duplicate;
        }
        if number != self.attachment && !matches!(body, Body::Lost) {
            return Expected::Refused("superseded");
        }
        if let Some(missing) = (1..first).find(|seq| !taken.contains(seq)) {
            return Expected::Gap(missing);
        }
        match body {
            Body::Bad => return Expected::Refused("document-rule"),
            Body::Lost => {}
            Body::Applied(version) => {
                self.acked = self.acked.max((self.base + version).min(self.versions[1]));
                self.delivered = self.delivered.max(self.acked);
            }
            Body::Report(ops) => {
                let before = self.reported.clone();
                apply_ops(&mut self.reported, ops.clone());
                self.versions[2] += u64::from(self.reported != before);
            }
        }
        taken.extend(first..=last);
        Expected::Done
    }

    /// As state, but whoever serves the device now.
    pub(super) fn alarm(&mut self, who: Who, first: u64, last: u64, lost: bool) -> Expected {
        if first == 0 || last < first || (!lost && first != last) {
            return Expected::Refused("invalid");
        }
        let number = match self.stay(who) {
            Ok(number) => number,
            Err(expected) => return expected,
        };
        let seen = self.alarm_marks.entry(number).or_default();
        if last <= *seen {
            return Expected::Duplicate;
        }
        if first > *seen + 1 {
            return Expected::Gap(*seen + 1);
        }
        *seen = last;
        if !lost {
            self.last_alarm = self.last_alarm.max(self.base) + 1;
            self.alarms.push((self.last_alarm, who.gateway));
        }
        Expected::Done
    }

    pub(super) fn event(&mut self, who: Who, boot: u64, seq: u64) -> Expected {
        if seq == 0 {
            return Expected::Refused("invalid");
        }
        // A twin of a later life can't know what numbers a gateway used in an earlier one.
        let heard = self.event_boot.get(&who.gateway).copied();
        if heard.is_none() && self.base > 0 {
            if seq != 1 && !self.stays.contains_key(&who.gateway) {
                return Expected::Refused("not-attached");
            }
            self.event_boot.insert(who.gateway, (who.outbox, boot));
            self.events.insert((who.gateway, who.outbox, boot), seq);
            return Expected::Done;
        }
        let seen = match heard {
            Some((outbox, last)) if outbox == who.outbox && boot < last => return Expected::Refused("superseded"),
            Some((outbox, last)) if (outbox, last) == (who.outbox, boot) => self.events[&(who.gateway, outbox, last)],
            _ => 0,
        };
        if seq <= seen {
            return Expected::Duplicate;
        }
        if seq > seen + 1 {
            return Expected::Gap(seen + 1);
        }
        self.event_boot.insert(who.gateway, (who.outbox, boot));
        self.events.insert((who.gateway, who.outbox, boot), seq);
        Expected::Done
    }

    pub(super) fn next_number(&self, who: Who) -> u64 {
        let number = self.stays.get(&who.gateway).map_or(0, |(_, number)| *number);
        self.taken.get(&number).and_then(|taken| taken.last()).map_or(0, |last| *last)
    }
}

/// What stands at a path.
pub(super) fn at<'a>(value: &'a Value, path: &Path) -> Option<&'a Value> {
    path.keys().iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

pub(super) fn relative(at: u64, by: i64) -> u64 {
    at.saturating_add_signed(by)
}
