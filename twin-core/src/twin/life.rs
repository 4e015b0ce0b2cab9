//! One life of a twin id: what exists between a creation and a delete.

use crate::alarm::Alarms;
use crate::delta::Desired;
use crate::ids::{GatewayId, SiteId};
use crate::mark::Marks;
use crate::numbers::{AttachmentNo, CallNo, Floor, Incarnation, Version, WallTime};
use crate::rows::{HeadRow, HotRow};
use crate::section::{PackedReported, Section};

/// The rows of an existing twin, in memory.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) hot: HotRow,
    pub(super) head: HeadRow,
    pub(super) desired: Desired,
    pub(super) marks: Marks,
    pub(super) alarms: Alarms,
}

impl Life {
    /// A new life. Every number of it starts above the floor, so that none of an earlier life comes again.
    pub(super) fn begin(site: SiteId, floor: Floor, now: WallTime) -> Self {
        let base = floor.get();
        let version = Version::new(base).next();
        Self {
            hot: HotRow {
                attachment: AttachmentNo::new(base),
                attached: false,
                mark: None,
                reported: PackedReported::new(version, now),
            },
            head: HeadRow {
                site,
                incarnation: Incarnation::new(base).next(),
                tags: Section::new(version, now),
                delivered: Version::default(),
                acked: Version::default(),
                last_call: CallNo::new(base),
                open_calls: Vec::new(),
                rejections: Vec::new(),
                keys: Vec::new(),
            },
            desired: Desired::new(version, now),
            marks: Marks::default(),
            alarms: Alarms::default(),
        }
    }

    /// What the numbers of this life started above.
    pub(super) fn base(&self) -> u64 {
        self.head.incarnation.get() - 1
    }

    /// The highest number of this life: what a later one must start above.
    pub(super) fn highest(&self) -> u64 {
        [
            self.head.incarnation.get(),
            self.head.tags.version().get(),
            self.head.last_call.get(),
            self.desired.section().version().get(),
            self.hot.reported.version().get(),
            self.hot.attachment.get(),
            self.alarms.last().get(),
        ]
        .into_iter()
        .fold(0, u64::max)
    }

    /// When its device reported last; zero: it never did. (A section that nobody wrote has the time of its life's beginning.)
    pub(super) fn reported_at(&self) -> WallTime {
        let is_reported = self.hot.reported.version().get() > self.head.incarnation.get();
        if is_reported { self.hot.reported.updated() } else { WallTime::default() }
    }

    /// The gateway that serves the device now, if one does.
    pub(super) fn gateway(&self) -> Option<&GatewayId> {
        self.hot.mark.as_ref().filter(|_| self.hot.attached).map(|mark| &mark.gateway)
    }

    /// Version of the whole twin: 1 at first, one more with each effective change of a section; as all three of a later life
    /// start above all three of this one, it doesn't go back either.
    pub(super) fn version(&self) -> u64 {
        self.head.tags.version().get() + self.desired.section().version().get() + self.hot.reported.version().get() - 2
    }

    /// What `If-Match` compares: changes with tags and desired only, and never returns in a later life.
    pub(super) fn steering_etag(&self) -> String {
        format!("{}-{}-{}", self.head.incarnation, self.head.tags.version(), self.desired.section().version())
    }
}
