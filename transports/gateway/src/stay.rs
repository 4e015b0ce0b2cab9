//! One device's stays: plain data and step functions, no I/O and no clock of its own.
//!
//! A stay is opened without asking anyone and stamps messages at once; only sending waits until the node has attached it. The
//! protocol's rules, and where they are kept here:
//! - a stay attaches once: a conflict about a stay that was attached before means that it is superseded ([`Stays::refused`]);
//! - after a conflict nothing is asked again before the device was heard again ([`Stays::heard`]);
//! - numbers rise by one within a stay, and a stay is never opened twice: its boot is durable before it stamps
//!   ([`Stays::stamp`]).

use std::time::Duration;

use twin_core::numbers::{AttachmentNo, Boot, Seq, Stay};
use twin_core::refusal::Refusal;

use crate::limits::{REATTACH_AFTER, RETRY_AFTER_MAX, UNREGISTERED_RETRY};

/// How a device stands with the node, in this session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nothing asked yet.
    #[default]
    Idle,
    /// An attach of this stay is on its way.
    Attaching(Stay),
    /// This stay is attached.
    Attached(Stay),
    /// Another gateway attached it later than we saw: waits for the device to be heard.
    Conflict,
    /// Asks again at this time.
    Waiting {
        /// When, as monotonic time.
        until: Duration,
        /// The node knows no such twin.
        unregistered: bool,
    },
}

/// What must be done about an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StayOutcome {
    /// Nothing but asking again when it is time.
    Wait,
    /// The stay will never be taken: its messages are dead letters, for this reason.
    Abandon(Stay, Refusal),
}

/// Stays of one device on this gateway.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stays {
    /// The stay that stamps new messages, and the number of the next.
    current: Option<(Stay, Seq)>,
    /// The number of its next alarm.
    next_alarm: Seq,
    /// Stays opened in this boot.
    opened: u32,
    /// Last attachment number heard of.
    saw: AttachmentNo,
    /// The last stay of ours that was attached.
    attached: Option<(Stay, AttachmentNo)>,
    /// Where we stand in this session.
    link: Link,
    /// The node forgot the attachment since the last message that it took.
    forgotten: bool,
}

impl Stays {
    /// As the file remembers it.
    pub(crate) fn load(saw: AttachmentNo, attached: Option<(Stay, AttachmentNo)>) -> Self {
        Self { saw, attached, ..Self::default() }
    }

    /// The stay of this boot, opened if there is none.
    pub(crate) fn open(&mut self, boot: Boot) -> Stay {
        if let Some((stay, _)) = self.current {
            return stay;
        }
        self.opened += 1;
        let stay = Stay { boot, counter: self.opened };
        self.current = Some((stay, Seq::new(1)));
        self.next_alarm = Seq::new(1);
        stay
    }

    /// The next stay and number; gapless within the stay.
    pub(crate) fn stamp(&mut self, boot: Boot) -> (Stay, Seq) {
        let stay = self.open(boot);
        let number = self.current.map_or(Seq::new(1), |(_, next)| next);
        self.current = Some((stay, number.next()));
        (stay, number)
    }

    /// The same for an alarm, which has numbers of its own.
    pub(crate) fn stamp_alarm(&mut self, boot: Boot) -> (Stay, Seq) {
        let stay = self.open(boot);
        let number = self.next_alarm;
        self.next_alarm = number.next();
        (stay, number)
    }

    /// Does the node take alarms of this stay, as far as is known? It does for as long as it knows that the stay was attached, also after
    /// another gateway attached the device, and in a new session before that attaches anything.
    pub(crate) fn is_marked(&self, stay: Stay) -> bool {
        let was_attached = self.attached.is_some_and(|(attached, _)| attached == stay);
        self.link == Link::Attached(stay) || (was_attached && !self.forgotten)
    }

    /// The node refused an alarm of the stay, as it does not know it (any more): the stay has to be attached again.
    pub(crate) fn alarm_refused(&mut self, stay: Stay, refusal: &Refusal, now: Duration) -> StayOutcome {
        let outcome = self.refused(stay, refusal, now);
        self.forgotten = true;
        outcome
    }

    /// The device was heard: after a conflict this is what allows to claim it again.
    pub(crate) fn heard(&mut self) {
        if self.link == Link::Conflict {
            self.link = Link::Idle;
        }
    }

    /// The stay ends (detached): what it stamped still goes, the next message opens another.
    pub(crate) fn retire(&mut self) -> Option<Stay> {
        self.current.take().map(|(stay, _)| stay)
    }

    /// Asks for the attached stay once more, to hear what is new.
    pub(crate) fn renew(&mut self) {
        if matches!(self.link, Link::Attached(_)) {
            self.link = Link::Idle;
        }
    }

    /// Was anything stamped after this number of this stay? Where that is no longer known, it may have been.
    pub(crate) fn stamped_after(&self, stay: Stay, number: Seq) -> bool {
        let attached = self.attached.map(|(attached, _)| attached);
        match self.current {
            Some((current, next)) if current == stay => next > number.next(),
            Some((current, next)) if current > stay && next > Seq::new(1) => true,
            _ => attached >= Some(stay),
        }
    }

    pub(crate) fn current(&self) -> Option<Stay> {
        self.current.map(|(stay, _)| stay)
    }

    pub(crate) fn saw(&self) -> AttachmentNo {
        self.saw
    }

    pub(crate) fn last_attached(&self) -> Option<(Stay, AttachmentNo)> {
        self.attached
    }

    pub(crate) fn link(&self) -> Link {
        self.link
    }

    /// Should this stay be attached now?
    pub(crate) fn wants_attach(&self, stay: Stay, now: Duration) -> bool {
        match self.link {
            Link::Idle => true,
            Link::Attached(attached) => attached != stay,
            Link::Waiting { until, .. } => until <= now,
            Link::Attaching(_) | Link::Conflict => false,
        }
    }

    /// The attach of this stay goes out.
    pub(crate) fn attaching(&mut self, stay: Stay) {
        self.link = Link::Attaching(stay);
    }

    /// The node attached it.
    pub(crate) fn attach_accepted(&mut self, stay: Stay, number: AttachmentNo) {
        self.saw = number;
        self.attached = Some((stay, number));
        self.link = Link::Attached(stay);
    }

    /// Messages of the attached stay were taken.
    pub(crate) fn taken(&mut self) {
        self.forgotten = false;
    }

    /// The node refused to attach the stay.
    pub(crate) fn attach_refused(&mut self, stay: Stay, refusal: &Refusal, now: Duration) -> StayOutcome {
        if let Refusal::Conflict { last } = refusal {
            self.saw = *last;
            if self.attached.is_some_and(|(attached, _)| attached == stay) {
                // It was the current one once and is no more: it never comes back, whatever number we name.
                return self.abandon(stay, Refusal::Superseded);
            }
            self.link = Link::Conflict;
            return StayOutcome::Wait;
        }
        self.refused(stay, refusal, now)
    }

    /// The node refused a message of the stay for a reason that concerns the whole stay.
    pub(crate) fn refused(&mut self, stay: Stay, refusal: &Refusal, now: Duration) -> StayOutcome {
        match refusal {
            Refusal::NotAttached if self.forgotten => self.wait_until(now + REATTACH_AFTER, false),
            Refusal::NotAttached => {
                self.forgotten = true;
                self.link = Link::Idle;
                StayOutcome::Wait
            }
            // It was there a moment ago, and is deleted: it is made again by an attach where enrolment is open, and elsewhere the
            // answer to the attach says that it is not registered.
            Refusal::NotFound { .. } if self.link == Link::Attached(stay) && !self.forgotten => {
                self.forgotten = true;
                self.link = Link::Idle;
                StayOutcome::Wait
            }
            Refusal::NotFound { .. } => self.wait_until(now + UNREGISTERED_RETRY, true),
            refusal => match refusal.retry_after() {
                Some(after) => self.wait_until(now + after.min(RETRY_AFTER_MAX), false),
                None => self.abandon(stay, refusal.clone()),
            },
        }
    }

    fn wait_until(&mut self, until: Duration, unregistered: bool) -> StayOutcome {
        self.link = Link::Waiting { until, unregistered };
        StayOutcome::Wait
    }

    fn abandon(&mut self, stay: Stay, refusal: Refusal) -> StayOutcome {
        if self.current.is_some_and(|(current, _)| current == stay) {
            self.current = None;
        }
        self.link = Link::Idle;
        StayOutcome::Abandon(stay, refusal)
    }

    /// The session is over. What waits goes on waiting: a reconnect is no hearing of the device.
    pub(crate) fn disconnected(&mut self) {
        if matches!(self.link, Link::Attaching(_) | Link::Attached(_)) {
            self.link = Link::Idle;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Boot = Boot::new(2);
    const NOW: Duration = Duration::from_secs(100);

    fn stay(counter: u32) -> Stay {
        Stay { boot: BOOT, counter }
    }

    fn conflict(last: u64) -> Refusal {
        Refusal::Conflict { last: AttachmentNo::new(last) }
    }

    #[test]
    fn numbers_rise_by_one_within_a_stay_and_start_at_one_in_the_next() {
        let mut stays = Stays::default();
        assert_eq!(stays.stamp(BOOT), (stay(1), Seq::new(1)));
        assert_eq!(stays.stamp(BOOT), (stay(1), Seq::new(2)));
        stays.retire();
        assert_eq!(stays.stamp(BOOT), (stay(2), Seq::new(1)));
    }

    #[test]
    fn after_a_conflict_nothing_is_asked_until_the_device_is_heard() {
        let mut stays = Stays::default();
        let (first, _) = stays.stamp(BOOT);
        stays.attaching(first);
        assert_eq!(stays.attach_refused(first, &conflict(7), NOW), StayOutcome::Wait);
        assert!(!stays.wants_attach(first, NOW + Duration::from_secs(3600)));
        stays.disconnected();
        assert!(!stays.wants_attach(first, NOW), "a reconnect is no hearing");
        stays.heard();
        assert!(stays.wants_attach(first, NOW));
        assert_eq!(stays.saw(), AttachmentNo::new(7));
    }

    #[test]
    fn a_conflict_about_a_stay_that_was_attached_abandons_it() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        stays.attach_accepted(first, AttachmentNo::new(3));
        stays.disconnected();
        stays.attaching(first);
        assert_eq!(stays.attach_refused(first, &conflict(4), NOW), StayOutcome::Abandon(first, Refusal::Superseded));
        assert_eq!(stays.open(BOOT), stay(2));
        assert_eq!(stays.saw(), AttachmentNo::new(4));
    }

    #[test]
    fn an_attached_stay_is_asked_for_again_only_in_a_new_session() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        stays.attach_accepted(first, AttachmentNo::new(1));
        assert!(!stays.wants_attach(first, NOW));
        stays.disconnected();
        assert!(stays.wants_attach(first, NOW));
    }

    #[test]
    fn an_older_stay_gives_way_to_the_next_one() {
        let mut stays = Stays::load(AttachmentNo::new(5), None);
        let older = Stay { boot: Boot::new(1), counter: 1 };
        stays.attach_accepted(older, AttachmentNo::new(5));
        let current = stays.open(BOOT);
        assert!(stays.wants_attach(current, NOW));
    }

    #[test]
    fn an_unregistered_device_waits_and_loses_nothing() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        let outcome = stays.attach_refused(first, &Refusal::NotFound { twin: "d".into() }, NOW);
        assert_eq!(outcome, StayOutcome::Wait);
        assert!(!stays.wants_attach(first, NOW));
        assert!(stays.wants_attach(first, NOW + UNREGISTERED_RETRY));
        assert_eq!(stays.current(), Some(first));
    }

    #[test]
    fn a_forgotten_attachment_is_renewed_at_once_but_then_with_a_pause() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        stays.attach_accepted(first, AttachmentNo::new(1));
        stays.refused(first, &Refusal::NotAttached, NOW);
        assert!(stays.wants_attach(first, NOW));
        stays.attach_accepted(first, AttachmentNo::new(1));
        stays.refused(first, &Refusal::NotAttached, NOW);
        assert!(!stays.wants_attach(first, NOW));
        assert!(stays.wants_attach(first, NOW + REATTACH_AFTER));
    }

    #[test]
    fn another_sites_device_is_given_up_for_good() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        let refusal = Refusal::OtherSite { site: twin_core::ids::SiteId::default_site() };
        assert_eq!(stays.attach_refused(first, &refusal, NOW), StayOutcome::Abandon(first, refusal));
    }

    #[test]
    fn a_twin_that_was_deleted_is_attached_again_at_once_and_then_waited_for() {
        let mut stays = Stays::default();
        let first = stays.open(BOOT);
        stays.attach_accepted(first, AttachmentNo::new(1));
        let gone = Refusal::NotFound { twin: "label".into() };
        assert_eq!(stays.refused(first, &gone, NOW), StayOutcome::Wait);
        assert!(stays.wants_attach(first, NOW));
        stays.attaching(first);
        assert_eq!(stays.attach_refused(first, &gone, NOW), StayOutcome::Wait);
        assert!(!stays.wants_attach(first, NOW));
        assert!(stays.wants_attach(first, NOW + UNREGISTERED_RETRY));
    }
}
