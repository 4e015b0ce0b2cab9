//! What a twin remembers of each gateway: which stay it accepts, and how far it has taken that stay's numbers.
//!
//! **Invariant:** a number takes effect at most once, and none is skipped unless the gateway itself declared it lost.
//! A message that is not next after the mark is a duplicate (all of it seen), or a gap (resend from the next), or
//! belongs to a stay that is not this one.

mod marks;

pub use marks::Marks;

use crate::command::Sender;
use crate::ids::GatewayId;
use crate::numbers::{AttachmentNo, Boot, OutboxId, Seq, Stay};
use crate::refusal::Refusal;

crate::record! {
    /// One gateway's mark.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Mark {
        /// Whose.
        pub gateway: GatewayId,
        /// The outbox that `stay` was opened on.
        pub outbox: OutboxId,
        /// The last stay that attached; boot 0: none ever did.
        pub stay: Stay,
        /// The number it attached under; 0: none.
        pub attachment: AttachmentNo,
        /// Twin-state messages of the stay seen up to here.
        pub state: Seq,
        /// Alarms of the stay seen up to here.
        pub alarm: Seq = Seq::default(),
        /// The outbox that numbers the gateway's events.
        pub event_outbox: OutboxId = OutboxId([0; 16]),
        /// The boot that numbers them.
        pub event_boot: Boot = Boot::default(),
        /// Events of that boot seen up to here; `None`: the twin may have forgotten, the next event tells.
        pub events: Option<Seq> = Some(Seq::default()),
        /// The twin was restored from a backup, and no event of this gateway came since: those before the next one may be lost.
        pub recovered: bool = false,
    }
}

/// Where a range of numbers stands against the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Next: apply it, the mark moves to its end.
    Next,
    /// All of it was seen.
    Duplicate,
    /// Numbers are missing before it.
    Gap {
        /// Resend from here.
        next: Seq,
    },
}

/// Places `first..=last` against the mark `seen`.
pub fn place(seen: Seq, first: Seq, last: Seq) -> Place {
    if last <= seen {
        Place::Duplicate
    } else if first <= seen.next() {
        Place::Next
    } else {
        Place::Gap { next: seen.next() }
    }
}

/// A range is 1 or above and not backwards.
pub fn check_range(first: Seq, last: Seq) -> Result<(), Refusal> {
    if first.get() == 0 || last < first || last.get() == u64::MAX {
        return Err(Refusal::Invalid {
            message: format!("the numbers {first} to {last} are no range: the first number is 1, and ranges go up"),
        });
    }
    Ok(())
}

impl Mark {
    /// A gateway that attached its first stay, or that the twin hears an event from.
    pub(crate) fn new(gateway: GatewayId, outbox: OutboxId, events: Option<Seq>) -> Self {
        Self {
            gateway,
            outbox,
            stay: Stay::default(),
            attachment: AttachmentNo::default(),
            state: Seq::default(),
            alarm: Seq::default(),
            event_outbox: outbox,
            event_boot: Boot::default(),
            events,
            recovered: false,
        }
    }

    /// How a message of a stay relates to the stay of this mark.
    pub fn stay_of(&self, sender: &Sender) -> StayIs {
        if self.attachment.get() == 0 || self.outbox != sender.outbox {
            return StayIs::Unknown;
        }
        match sender.stay.cmp(&self.stay) {
            std::cmp::Ordering::Less => StayIs::Older,
            std::cmp::Ordering::Equal => StayIs::Marked,
            std::cmp::Ordering::Greater => StayIs::Unknown,
        }
    }

    /// Takes over a new stay under a new number. Its numbers begin anew; events go on, they belong to no stay.
    pub(crate) fn begin(&mut self, sender: &Sender, attachment: AttachmentNo) {
        self.outbox = sender.outbox;
        self.stay = sender.stay;
        self.attachment = attachment;
        self.state = Seq::default();
        self.alarm = Seq::default();
    }

    /// Takes the number of an event. `Ok(false)`: seen before.
    ///
    /// After a recovery the first that was not seen is taken, whatever its number: those between were taken by the older lineage and are
    /// lost with it. What the gateway holds has no gap, so there is one such place at most.
    pub(crate) fn take_event(&mut self, outbox: OutboxId, boot: Boot, seq: Seq) -> Result<bool, Refusal> {
        let same = self.event_outbox == outbox && self.event_boot == boot;
        if self.event_outbox == outbox && boot < self.event_boot {
            return Err(Refusal::Superseded);
        }
        // A boot or an outbox not heard of before numbers from 1, except where the twin may have forgotten it.
        let fresh = if self.events.is_none() { None } else { Some(Seq::default()) };
        let Some(seen) = (if same { self.events } else { fresh }) else {
            (self.event_outbox, self.event_boot, self.events) = (outbox, boot, Some(seq));
            return Ok(true);
        };
        match place(seen, seq, seq) {
            Place::Duplicate => Ok(false),
            Place::Gap { next } if !self.recovered => Err(Refusal::Gap { next }),
            Place::Gap { .. } | Place::Next => {
                (self.event_outbox, self.event_boot, self.events) = (outbox, boot, Some(seq));
                self.recovered = false;
                Ok(true)
            }
        }
    }
}

/// How a message's stay relates to the mark's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StayIs {
    /// It is the mark's.
    Marked,
    /// It came before the mark's: superseded, for good.
    Older,
    /// It did not attach yet, or its mark was forgotten.
    Unknown,
}
