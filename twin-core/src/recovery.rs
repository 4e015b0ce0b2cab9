//! A new lineage: what a twin's rows become when they are restored from a backup.
//!
//! The twin forgets what came after the backup; gateways, devices and back offices do not. So that no number that anybody has seen
//! is ever given out for something else, **every counter is raised by whole [`LINEAGE_SPAN`]s**: the numbers of each lineage lie in a
//! span of their own, above those of all before it. What follows from that, at each counter:
//!
//! - versions: whoever is at a version of an older lineage gets a snapshot ([`Desired`] begins at its floor), and never one that is not
//!   newer;
//! - attachments: a gateway that was attached after the backup has *seen more* than the twin knows. What it saw counts as the number in
//!   the same place of this lineage (`carried_over`), so that of two such gateways the one that attached last still wins;
//! - marks: numbers that the twin took after the backup are missing here. Of state and alarms the gateway is told of the gap, declares them lost and
//!   counts them; of events, whose numbers are one each, the first that comes is taken ([`Mark::recovered`]);
//! - alarms: their numbers, too, go on above; those that are kept have the numbers under which they were told;
//! - what the device acknowledged is forgotten: it may have taken over something newer since, which nobody knows here.
//!
//! [`Mark::recovered`]: crate::mark::Mark::recovered

use bytes::Bytes;

use crate::alarm::Alarms;
use crate::convergence::Rejection;
use crate::delta::Desired;
use crate::mark::{Mark, Marks};
use crate::numbers::{AttachmentNo, CallNo, Floor, Incarnation, Version};
use crate::rows::{HeadRow, HomeRow, HotRow, RowError, RowKind, decode, encode};

/// How far a lineage's numbers lie above those of the one before it: more than a twin counts in a life of years.
pub const LINEAGE_SPAN: u64 = 1 << 32;

/// Most lineages that are passed at once. With a thousand of such recoveries all numbers still are whole numbers in JSON (2^53).
pub const LINEAGES_PASSED_MAX: u64 = 1 << 10;

/// By how much counters are raised: a whole number of [`LINEAGE_SPAN`]s, at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raise(u64);

impl Raise {
    /// Past this many lineages; `None` unless it is 1 to [`LINEAGES_PASSED_MAX`].
    pub fn past(lineages: u64) -> Option<Self> {
        (1..=LINEAGES_PASSED_MAX).contains(&lineages).then_some(Self(lineages * LINEAGE_SPAN))
    }

    /// The number that is added.
    pub fn get(self) -> u64 {
        self.0
    }

    /// A counter, raised.
    pub fn number(self, counter: u64) -> u64 {
        counter.saturating_add(self.0)
    }

    /// A counter of which 0 means "none".
    fn some(self, counter: u64) -> u64 {
        if counter == 0 { 0 } else { self.number(counter) }
    }

    /// A home slot's floor, raised: twins that are made again start above all that the older lineage may have given out.
    pub fn floor(self, floor: Floor) -> Floor {
        Floor::new(self.number(floor.get()))
    }

    fn version(self, version: Version) -> Version {
        Version::new(self.number(version.get()))
    }

    /// One of a twin's rows, as it is in the new lineage.
    pub fn row(self, kind: RowKind, row: &Bytes) -> Result<Bytes, RowError> {
        match kind {
            RowKind::Home => {
                let home: HomeRow = decode(kind, row)?;
                Ok(encode(&HomeRow { incarnation: self.incarnation(home.incarnation), ..home }))
            }
            RowKind::Hot => Ok(self.hot(HotRow::decode(row)?).encode()),
            RowKind::Head => Ok(encode(&self.head(decode(kind, row)?))),
            RowKind::Desired => {
                let mut desired: Desired = decode(kind, row)?;
                desired.recover(self);
                Ok(encode(&desired))
            }
            RowKind::Marks => {
                let mut marks: Marks = decode(kind, row)?;
                marks.recover(self);
                Ok(encode(&marks))
            }
            RowKind::Alarms => {
                let mut alarms: Alarms = decode(kind, row)?;
                alarms.recover(self);
                Ok(encode(&alarms))
            }
        }
    }

    /// Raised like all else, so that the twin takes an event of a gateway that it does not know only where it can tell.
    fn incarnation(self, incarnation: Incarnation) -> Incarnation {
        Incarnation::new(self.number(incarnation.get()))
    }

    fn hot(self, mut hot: HotRow) -> HotRow {
        hot.attachment = AttachmentNo::new(self.number(hot.attachment.get()));
        if let Some(mark) = &mut hot.mark {
            self.mark(mark);
        }
        hot.reported.raise(self);
        hot
    }

    fn head(self, mut head: HeadRow) -> HeadRow {
        head.incarnation = self.incarnation(head.incarnation);
        head.tags.raise(self);
        head.delivered = Version::default();
        head.acked = Version::default();
        head.last_call = CallNo::new(self.number(head.last_call.get()));
        // Whoever waited for them is gone.
        head.open_calls.clear();
        for Rejection { version, .. } in &mut head.rejections {
            *version = self.version(*version);
        }
        head
    }

    pub(crate) fn mark(self, mark: &mut Mark) {
        mark.attachment = AttachmentNo::new(self.some(mark.attachment.get()));
        mark.recovered = true;
    }
}

/// What a gateway saw in an older lineage than that of `last`, as a number of the same place in `last`'s lineage. `None`: it is of the
/// same lineage (or of a newer one, which cannot be).
pub(crate) fn carried_over(saw: AttachmentNo, last: AttachmentNo) -> Option<AttachmentNo> {
    let lineage = last.get() / LINEAGE_SPAN;
    (saw.get() / LINEAGE_SPAN < lineage).then(|| AttachmentNo::new(lineage * LINEAGE_SPAN + saw.get() % LINEAGE_SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_an_older_lineage_is_carried_over_and_one_of_this_one_is_not() {
        let number = |lineage: u64, n: u64| AttachmentNo::new(lineage * LINEAGE_SPAN + n);
        assert_eq!(carried_over(number(0, 7), number(1, 5)), Some(number(1, 7)));
        assert_eq!(carried_over(number(1, 7), number(3, 5)), Some(number(3, 7)));
        assert_eq!(carried_over(number(0, 0), number(1, 5)), Some(number(1, 0)));
        assert_eq!(carried_over(number(1, 5), number(1, 5)), None);
        assert_eq!(carried_over(number(0, 7), number(0, 5)), None);
    }

    #[test]
    fn a_raise_is_a_whole_number_of_lineages() {
        assert_eq!(Raise::past(0), None);
        assert_eq!(Raise::past(1).map(Raise::get), Some(1 << 32));
        assert_eq!(Raise::past(LINEAGES_PASSED_MAX + 1), None);
    }
}
