//! What the state says about itself.

use std::sync::Arc;
use std::time::Duration;

use twin_transports::frames::health::Health;
use twin_transports::frames::session::Heartbeat;

use crate::core::admission::AppendError;
use crate::core::{Core, lane_of};
use crate::error::ReportError;
use crate::outbox::format::Class;
use crate::status::{CreditLeft, Status};

impl Core {
    /// How the gateway is.
    pub(crate) fn status(&self) -> Status {
        let (attached, conflicts, unregistered) = self.count_attached();
        Status {
            connected: self.session.is_some(),
            session: self.session.map(|session| session.number),
            refusal: self.session_refusal.clone(),
            notice: self.notice.clone(),
            failure: self.session_failure.clone(),
            outbox: self.outbox,
            boot: self.boot,
            backlog_messages: self.messages(),
            backlog_bytes: self.used_bytes(),
            backlog_bytes_max: self.rules.cap_bytes,
            dead_letters: self.dead.len() as u64,
            dead_letters_dropped: self.dead.dropped(),
            dead_letters_ever: self.dead.ever(),
            devices: self.twins.len() as u64,
            attached,
            conflicts,
            unregistered,
            disk_failure: self.writes.failed().map(ToString::to_string),
            disk_full: self.space.is_full(),
            flash_written_bytes: self.space.written_bytes(),
            flash_left_bytes: self.flash.left_bytes(),
            counters: self.counters,
            credit: self.all_credit_left(),
            backlog_alarms: self.twins.iter().map(|twin| twin.lanes[lane_of(Class::Alarm)].len() as u64).sum(),
        }
    }

    fn all_credit_left(&self) -> Option<CreditLeft> {
        Some(CreditLeft {
            state_bytes: self.credit_left(Class::State)?,
            event_bytes: self.credit_left(Class::Event)?,
            alarm_bytes: self.credit_left(Class::Alarm)?,
        })
    }

    /// What a heartbeat tells.
    pub(crate) fn next_heartbeat(&mut self, now: Duration) -> Heartbeat {
        let (attached, ..) = self.count_attached();
        self.heartbeats += 1;
        let oldest = self.chunks.oldest_key().filter(|_| self.messages() > 0);
        if oldest.is_none() {
            self.ages.none_left();
        }
        let oldest = oldest.map(|key| self.ages.of_oldest(key, now).as_millis() as u64);
        let mut health = Health { oldest_message_ms: oldest, ..Health::default() };
        self.health.put_into(&mut health);
        Heartbeat {
            number: self.heartbeats,
            uptime_ms: now.as_millis() as u64,
            backlog_messages: self.messages(),
            backlog_bytes: self.used_bytes(),
            backlog_bytes_max: self.rules.cap_bytes,
            dead_letters: self.dead.len() as u64,
            devices: attached,
            health,
        }
    }

    /// Why nothing can be taken any more, if so.
    pub(crate) fn failure(&self) -> Option<ReportError> {
        self.writes.failed().map(|message| AppendError::Disk { message: Arc::clone(message) }.into())
    }
}
