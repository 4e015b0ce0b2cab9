//! The twin as people and gateways read it.

use crate::ids::{GatewayId, SiteId, TwinId};
use crate::numbers::{AttachmentNo, Incarnation, Version, WallTime};
use crate::value::Value;

/// A committed reading of a twin. What lives in sessions (connection state, last activity) is added by whoever
/// renders it for REST.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinDocument {
    /// Its id.
    pub id: TwinId,
    /// Its site.
    pub site: SiteId,
    /// Which life of the id.
    pub incarnation: Incarnation,
    /// Rises with every effective change of any section.
    pub version: u64,
    /// Covers tags and desired: what `etag` in the body shows and `If-Match` compares. Without quotes.
    pub steering_etag: String,
    /// Tags, plain.
    pub tags: Value,
    /// Version of tags.
    pub tags_version: Version,
    /// Desired with `$version` and `$metadata`.
    pub desired: Value,
    /// Version of desired.
    pub desired_version: Version,
    /// The gateway has desired up to this version.
    pub delivered: Version,
    /// The device acknowledged desired up to this version.
    pub acked: Version,
    /// Reported with `$version` and `$metadata`.
    pub reported: Value,
    /// Version of reported.
    pub reported_version: Version,
    /// `{"/price": {"state", "version", "reason"?}}`.
    pub convergence: Value,
    /// The gateway of the current attachment, if one is attached.
    pub gateway: Option<GatewayId>,
    /// The current attachment.
    pub attachment: AttachmentNo,
    /// When `reported` last changed.
    pub reported_at: WallTime,
    /// When the device was last heard, as far as the active grain knows (not in the log): at least `reported_at`.
    pub last_activity: WallTime,
}
