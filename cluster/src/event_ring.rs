//! The last committed events under their numbers, so that an observer that was cut off hears what it missed.
//!
//! **Invariant:** what is told as everything after an id is everything after it, or it is a [`Reset`]: never a silent gap. So a ring
//! that was not kept for a while, because nobody watched, leaves out a number: no id from before it is followed by one from after.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use twin_core::event::{Outbound, OutboundKind};
use twin_core::json::compact_len_at_most;
use twin_core::op::Op;
use twin_core::path::Path;

use crate::limits::{EVENT_RING_BYTES_MAX, EVENT_RING_EVENTS_MAX};

/// Which event of which start of a node: `5f3a...-1207` as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// Random, made at each start of the node.
    pub start: u64,
    /// Rises by one with each event, and is left out where events were.
    pub number: u64,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.start, self.number)
    }
}

impl FromStr for EventId {
    type Err = Reset;

    fn from_str(text: &str) -> Result<Self, Reset> {
        let (start, number) = text.split_once('-').ok_or(Reset::Unknown)?;
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        if start.len() != 16 || !digits(start) || !digits(number) {
            return Err(Reset::Unknown);
        }
        let start = u64::from_str_radix(start, 16).map_err(|_| Reset::Unknown)?;
        Ok(Self { start, number: number.parse().map_err(|_| Reset::Unknown)? })
    }
}

/// Why an observer must read anew what it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reset {
    /// No id of this node.
    #[error("the id is none of this node's")]
    Unknown,
    /// The id is of another start of the node.
    #[error("the node was started again since")]
    Restarted,
    /// What came after the id is not kept any more.
    #[error("what came after the id is not kept any more")]
    TooOld,
}

impl Reset {
    /// Stable name, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Restarted => "restarted",
            Self::TooOld => "too-old",
        }
    }
}

/// A committed event under its id.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub event: Outbound,
}

/// The ring. Plain data: locks and time are its owner's.
#[derive(Debug)]
pub(crate) struct EventRing {
    start: u64,
    /// Each with what it weighs.
    kept: VecDeque<(Arc<Observed>, usize)>,
    bytes: usize,
    /// The last number that was given or left out.
    last: u64,
    events_max: usize,
    bytes_max: usize,
}

impl EventRing {
    /// Empty, under this start's number.
    pub(crate) fn new(start: u64) -> Self {
        Self::bounded(start, EVENT_RING_EVENTS_MAX, EVENT_RING_BYTES_MAX)
    }

    fn bounded(start: u64, events_max: usize, bytes_max: usize) -> Self {
        Self { start, kept: VecDeque::new(), bytes: 0, last: 0, events_max, bytes_max }
    }

    /// Events were not kept up to now: what comes does not follow what was.
    pub(crate) fn begin(&mut self) {
        self.forget();
        self.last += 1;
    }

    /// Nobody will ask for what is kept.
    pub(crate) fn forget(&mut self) {
        self.kept = VecDeque::new();
        self.bytes = 0;
    }

    /// Keeps one more, in place of as many of the oldest as it needs.
    pub(crate) fn push(&mut self, event: Outbound) -> Arc<Observed> {
        self.last += 1;
        let bytes = weight_bytes(&event);
        let observed = Arc::new(Observed { id: self.newest(), event });
        self.kept.push_back((Arc::clone(&observed), bytes));
        self.bytes += bytes;
        while self.kept.len() > self.events_max || self.bytes > self.bytes_max {
            let Some((_, bytes)) = self.kept.pop_front() else { break };
            self.bytes -= bytes;
        }
        observed
    }

    /// Who has everything up to here has everything.
    pub(crate) fn newest(&self) -> EventId {
        EventId { start: self.start, number: self.last }
    }

    /// All that came after an event.
    pub(crate) fn after(&self, id: EventId) -> Result<Vec<Arc<Observed>>, Reset> {
        if id.start != self.start {
            return Err(Reset::Restarted);
        }
        let missed = self.last.checked_sub(id.number).ok_or(Reset::Unknown)?;
        let from = (self.kept.len() as u64).checked_sub(missed).ok_or(Reset::TooOld)?;
        Ok(self.kept.iter().skip(from as usize).map(|(observed, _)| Arc::clone(observed)).collect())
    }
}

/// What an event takes in memory, about.
fn weight_bytes(event: &Outbound) -> usize {
    const HEAD_BYTES: usize = 256;
    let path_bytes = |path: &Path| path.keys().iter().map(|key| key.len() + 16).sum::<usize>();
    let op_bytes = |op: &Op| {
        let value = match op {
            Op::Set { value, .. } | Op::Replace { value, .. } => 2 * compact_len_at_most(value),
            Op::Remove { .. } => 0,
        };
        64 + path_bytes(op.path()) + value
    };
    HEAD_BYTES
        + match &event.kind {
            OutboundKind::Reported { ops, .. } => ops.size_bytes() + ops.paths().map(path_bytes).sum::<usize>(),
            OutboundKind::Desired { ops, .. } | OutboundKind::Tags { ops, .. } => ops.iter().map(op_bytes).sum(),
            OutboundKind::Rejected { path, reason, .. } => path_bytes(path) + reason.len(),
            OutboundKind::Alarm { alarm } => {
                let alarm = &alarm.alarm;
                alarm.name.len() + 2 * compact_len_at_most(&alarm.payload)
            }
            OutboundKind::Event { name, payload } => name.len() + 2 * compact_len_at_most(payload),
            _ => 0,
        }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twin_core::ids::{SiteId, TwinId};
    use twin_core::numbers::{Incarnation, WallTime};

    use super::*;

    fn event(payload_bytes: usize) -> Outbound {
        let payload = "x".repeat(payload_bytes).as_str().into();
        Outbound {
            twin: TwinId::new("label").unwrap(),
            site: SiteId::default_site(),
            incarnation: Incarnation::new(1),
            at: WallTime::new(1),
            kind: OutboundKind::Event { name: "button".into(), payload },
        }
    }

    fn numbers(after: Result<Vec<Arc<Observed>>, Reset>) -> Result<Vec<u64>, Reset> {
        after.map(|events| events.iter().map(|observed| observed.id.number).collect())
    }

    #[test]
    fn an_id_goes_out_and_comes_back_as_text_and_other_text_is_unknown() {
        for id in [EventId { start: 0, number: 0 }, EventId { start: u64::MAX, number: u64::MAX }] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for text in [
            "",
            "7",
            "-",
            "0-0",
            "000000000000000g-1",
            "0000000000000000-",
            "0000000000000000-+1",
            "0000000000000000-1a",
        ] {
            assert_eq!(text.parse::<EventId>(), Err(Reset::Unknown), "{text}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_by_bytes_as_well_as_by_number() {
        let mut ring = EventRing::bounded(7, 100, 100_000);
        ring.begin();
        for _ in 0..110 {
            ring.push(event(0));
        }
        assert_eq!(ring.kept.len(), 100);
        for _ in 0..200 {
            ring.push(event(3_000));
        }
        assert!(ring.bytes <= 100_000 && (10..30).contains(&ring.kept.len()), "{ring:?}");
        ring.forget();
        assert_eq!((ring.bytes, ring.kept.capacity()), (0, 0));
    }

    proptest! {
        /// Against a list of all that ever happened, with the breaks in it.
        #[test]
        fn what_follows_an_id_is_everything_or_a_reset(acts in prop::collection::vec(0u8..20, 0..200), asked in 0u64..250) {
            let mut ring = EventRing::bounded(7, 40, 20_000);
            ring.begin();
            let (mut since_break, mut last_break) = (Vec::new(), 1);
            for act in acts {
                if act == 0 {
                    let before = ring.newest();
                    ring.begin();
                    // What happened meanwhile is nowhere.
                    prop_assert_eq!(numbers(ring.after(before)), Err(Reset::TooOld));
                    prop_assert_eq!(numbers(ring.after(ring.newest())), Ok(Vec::new()));
                    since_break.clear();
                    last_break = ring.newest().number;
                } else {
                    // Some are so large that they push others out.
                    let observed = ring.push(event(if act == 1 { 4_000 } else { 10 }));
                    since_break.push(observed.id.number);
                }
            }
            let newest = ring.newest().number;
            match numbers(ring.after(EventId { start: 7, number: asked })) {
                Ok(told) => {
                    let all: Vec<u64> = since_break.iter().copied().filter(|number| *number > asked).collect();
                    prop_assert_eq!(told, all);
                    prop_assert!(asked >= last_break && asked <= newest);
                }
                Err(Reset::Unknown) => prop_assert!(asked > newest),
                Err(Reset::TooOld) => {
                    prop_assert!(asked < last_break || newest - asked > ring.kept.len() as u64);
                }
                Err(Reset::Restarted) => prop_assert!(false),
            }
            prop_assert_eq!(numbers(ring.after(EventId { start: 8, number: asked })), Err(Reset::Restarted));
        }
    }
}
