//! Alarms: short, numbered messages that somebody must see soon. They are a class of their own, so that nothing that is plentiful
//! (state, events) is ever before them, and they write nothing that the device *is*: `reported` belongs to the twin-state class.
//!
//! An alarm of a gateway that the device has left is still an alarm: it happened. So, other than state, it is taken from every
//! stay whose mark the twin keeps, not from that of the latest attachment only.

use std::collections::VecDeque;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::GatewayId;
use crate::limits::{ALARM_PAYLOAD_BYTES_MAX, ALARMS_BYTES_MAX, ALARMS_MAX};
use crate::numbers::{AlarmNo, WallTime};
use crate::recovery::Raise;
use crate::refusal::Refusal;
use crate::rules::{check_name, check_payload};
use crate::value::Value;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Good to know, such as that an earlier alarm is over.
    #[serde(rename = "i")]
    Info,
    /// Somebody should look at it.
    #[default]
    #[serde(rename = "w")]
    Warning,
    /// Something does not work.
    #[serde(rename = "m")]
    Major,
    /// Somebody must act now.
    #[serde(rename = "c")]
    Critical,
}

impl Severity {
    /// Its name in documents and events.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Major => "major",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

crate::record! {
    /// What a gateway says.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Alarm {
        /// What it is about, such as `freezer-too-warm`. At most [`NAME_BYTES_MAX`](crate::limits::NAME_BYTES_MAX) bytes.
        pub name: String,
        /// How bad it is.
        pub severity: Severity,
        /// When, by the gateway's clock: data, which may be wrong.
        pub raised_at: WallTime,
        /// Details, at most [`ALARM_PAYLOAD_BYTES_MAX`].
        pub payload: Value,
    }
}

impl Alarm {
    /// **Invariant:** what is checked here fits a frame, an entry and the twin's row, whatever else is in them.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name(&self.name, "alarm")?;
        check_payload(&self.payload, "alarm")?;
        let size_bytes = crate::json::compact_len(&self.payload);
        if size_bytes > ALARM_PAYLOAD_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "the alarm's payload".to_owned(),
                pointer: "/payload".to_owned(),
                size_bytes: size_bytes as u64,
                limit_bytes: ALARM_PAYLOAD_BYTES_MAX as u64,
            });
        }
        Ok(())
    }
}

crate::record! {
    /// An alarm that the twin took.
    #[derive(Clone, Debug, PartialEq)]
    pub struct TakenAlarm {
        /// Rises by one with each alarm of the twin, whoever raised it: a hole in a list is alarms that had to go.
        pub number: AlarmNo,
        /// Who raised it.
        pub gateway: GatewayId,
        /// When the twin took it, by the node's clock.
        pub taken_at: WallTime,
        /// What it says.
        pub alarm: Alarm,
    }
}

impl TakenAlarm {
    /// What it counts against [`ALARMS_BYTES_MAX`].
    fn weight_bytes(&self) -> usize {
        self.alarm.name.len() + crate::json::compact_len(&self.alarm.payload)
    }
}

crate::record! {
    /// A twin's row of alarms: the latest, and the number of the last. Cold: only alarms write it.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Alarms {
        /// Number of the last; 0: none in this life.
        last: AlarmNo,
        /// Oldest first, at most [`ALARMS_MAX`].
        kept: VecDeque<TakenAlarm>,
    }
}

impl Alarms {
    /// Takes one; as many of the oldest go as it needs. `base`: what the numbers of this life start above.
    pub(crate) fn take(&mut self, base: u64, gateway: GatewayId, taken_at: WallTime, alarm: Alarm) -> &TakenAlarm {
        self.last = self.last.max(AlarmNo::new(base)).next();
        self.kept.push_back(TakenAlarm { number: self.last, gateway, taken_at, alarm });
        let mut bytes: usize = self.kept.iter().map(TakenAlarm::weight_bytes).sum();
        // The newest always fits: see `check`.
        while self.kept.len() > ALARMS_MAX || (bytes > ALARMS_BYTES_MAX && self.kept.len() > 1) {
            bytes -= self.kept.pop_front().map_or(0, |gone| gone.weight_bytes());
        }
        &self.kept[self.kept.len() - 1]
    }

    /// Number of the last; 0: none in this life.
    pub fn last(&self) -> AlarmNo {
        self.last
    }

    /// The latest, oldest first.
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = &TakenAlarm> + ExactSizeIterator {
        self.kept.iter()
    }

    /// Was there none in this life? Then there is no row.
    pub fn is_empty(&self) -> bool {
        self.last.get() == 0
    }

    /// As they are in a new lineage: the next number is above all that the older one may have given out.
    pub(crate) fn recover(&mut self, raise: Raise) {
        if !self.is_empty() {
            self.last = AlarmNo::new(raise.number(self.last.get()));
        }
    }
}
