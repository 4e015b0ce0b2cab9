//! What observers and gateways hear of, after the commit.

use crate::alarm::TakenAlarm;
use crate::ids::{GatewayId, SiteId, TwinId};
use crate::numbers::{AttachmentNo, Incarnation, Version, WallTime};
use crate::op::Op;
use crate::path::Path;
use crate::report::PackedReport;
use crate::value::Value;

/// Something that happened to a twin.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbound {
    /// Whose.
    pub twin: TwinId,
    /// Its site.
    pub site: SiteId,
    /// Which life of the id.
    pub incarnation: Incarnation,
    /// When, by the node's clock (data).
    pub at: WallTime,
    /// What.
    pub kind: OutboundKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum OutboundKind {
    /// The twin was created.
    Created,
    /// The twin was deleted.
    Deleted,
    /// `reported` changed.
    Reported {
        /// Its new version.
        version: Version,
        /// By these operations. They are taken apart by who shows them: most observers follow something else.
        ops: PackedReport,
    },
    /// `desired` changed: the gateway of the current attachment has something to fetch.
    Desired {
        /// Its new version.
        version: Version,
        /// By these operations.
        ops: Vec<Op>,
        /// Whom to tell.
        gateway: Option<GatewayId>,
    },
    /// `tags` changed.
    Tags {
        /// Its new version.
        version: Version,
        /// By these operations.
        ops: Vec<Op>,
    },
    /// `desired` was received by the gateway up to this version.
    Delivered {
        /// Up to which version.
        version: Version,
    },
    /// The device took over `desired` up to this version.
    Applied {
        /// Up to which version.
        version: Version,
    },
    /// The device rejected a property.
    Rejected {
        /// Which.
        path: Path,
        /// Set by which version.
        version: Version,
        /// Why.
        reason: String,
    },
    /// A gateway attached the device.
    Attached {
        /// Which gateway.
        gateway: GatewayId,
        /// Under which number.
        attachment: AttachmentNo,
        /// The gateway whose attachment this ends, if another.
        before: Option<GatewayId>,
    },
    /// The gateway let go of the device.
    Detached {
        /// Which gateway.
        gateway: GatewayId,
    },
    /// An alarm.
    Alarm {
        /// As the twin took it.
        alarm: Box<TakenAlarm>,
    },
    /// An event of the device.
    Event {
        /// Its name.
        name: String,
        /// Its payload.
        payload: Value,
    },
}
