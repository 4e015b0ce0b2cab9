//! What the cluster shows of itself to REST and the command line.

use serde::{Deserialize, Serialize};
use twin_core::document::TwinDocument;
use twin_core::ids::{GatewayName, SiteId};
use twin_core::numbers::{CallNo, CellId, WallTime};
use twin_core::once::CallAnswer;
use twin_core::value::Value;
use twin_transports::frames::health::Health;

use crate::summary::GatewaysSummary;

/// Who may have a twin in a site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Enrolment {
    /// Only devices that were registered over REST.
    #[default]
    Registered,
    /// Any device: the first attach registers it.
    Open,
    /// Devices that were registered over REST, and those whose ids are on the site's list: their first attach registers them.
    List,
}

/// What becomes of two gateways that come with one credential: one name, but different outboxes. A gateway that comes back with its
/// own outbox always takes the place of its older session at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConflictPolicy {
    /// The newer one is let in and the older session is closed: a box that was exchanged goes on at once.
    #[default]
    Replace,
    /// The newer one is refused while the older has a session: a stolen credential cannot push out its owner.
    DenyNew,
}

/// A device's answer to a method call.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodAnswer {
    /// Application status, HTTP-like.
    pub status: u16,
    /// Payload.
    pub payload: Value,
}

/// What a method call with an idempotency key led to, now or before.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyedAnswer {
    /// The call's number.
    pub call: CallNo,
    /// The call was made before.
    pub replayed: bool,
    /// What the device answered.
    pub answer: CallAnswer,
}

/// Which twins to list.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinQuery {
    /// Only of this site; `None`: of all.
    pub site: Option<SiteId>,
    /// Cursor of the page before.
    pub after: Option<String>,
    /// Most twins of the page.
    pub limit: usize,
}

/// One page of twins, by site and id.
#[derive(Clone, Debug, PartialEq)]
pub struct TwinPage {
    /// The twins.
    pub twins: Vec<TwinDocument>,
    /// Cursor of the next page; `None`: this was the last.
    pub next: Option<String>,
}

/// A site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteView {
    /// Its id.
    pub id: SiteId,
    /// Who may have a twin in it.
    pub enrolment: Enrolment,
    /// The cell that stores its twins.
    pub cell: CellId,
    /// Rises with each move of the site.
    pub epoch: u64,
    /// What becomes of two gateways with one credential.
    pub conflict: ConflictPolicy,
    /// It is being deleted, with all that hangs on it.
    pub deleting: bool,
    /// Its gateways, by name.
    pub gateways: Vec<GatewayView>,
}

/// A gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct GatewayView {
    /// Its name.
    pub name: GatewayName,
    /// When its credentials were made.
    pub created_at: WallTime,
    /// Has it a session now?
    pub connected: bool,
    /// Address it connects from.
    pub peer: Option<String>,
    /// Its software.
    pub agent: Option<String>,
    /// When its session was opened.
    pub connected_at: Option<WallTime>,
    /// Until when its key before works, if it does.
    pub old_key_until: Option<WallTime>,
    /// When it was last heard, in this run of the node.
    pub last_seen: Option<WallTime>,
    /// Its last heartbeat.
    pub status: Option<GatewayStatus>,
    /// SHA-256 of its certificate's public key, in hexadecimal; `None`: it proves itself by a secret.
    pub certificate_sha256: Option<String>,
    /// When the certificate ends that it showed for its session, if it did and that has an end.
    pub certificate_ends_at: Option<WallTime>,
}

/// What a gateway says of itself in its heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GatewayStatus {
    /// Since its boot.
    pub uptime_ms: u64,
    /// Messages in its outbox.
    pub backlog_messages: u64,
    /// Bytes in its outbox.
    pub backlog_bytes: u64,
    /// Cap of its outbox.
    pub backlog_bytes_max: u64,
    /// Messages that were refused for good.
    pub dead_letters: u64,
    /// Devices attached.
    pub devices: u64,
    /// How its box and its link are.
    pub health: Health,
}

/// New credentials. A secret is shown once and stored nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct NewGateway {
    /// The site.
    pub site: SiteId,
    /// The name.
    pub name: GatewayName,
    /// The product key.
    pub product_key: String,
    /// Seed of the gateway's Ed25519 key pair; `None`: it has a certificate.
    pub secret: Option<[u8; 32]>,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// `core` or `edge`.
    pub role: String,
    /// Where its REST listens.
    pub http: Option<String>,
    /// Where its QUIC endpoint listens.
    pub quic: Option<String>,
    /// When it was started.
    pub started_at: WallTime,
    /// Its Raft groups.
    pub groups: Vec<GroupView>,
    /// The gateways with sessions on it.
    pub gateways: GatewaysSummary,
}

/// A Raft group on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its number; 0 is the directory.
    pub group: u32,
    /// `directory` or `cell-N`.
    pub name: String,
    /// Does it lead here (barrier applied)?
    pub leader: bool,
    /// Raft term.
    pub term: u64,
    /// Index of the last log entry.
    pub last_log: u64,
    /// Index of the last applied entry.
    pub applied: u64,
}

/// Counters and levels for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterStats {
    /// Grains in memory now.
    pub grains_active: u64,
    /// Grains started.
    pub activations: u64,
    /// Grains stopped for idleness or for room.
    pub passivations: u64,
    /// Commands given to grains.
    pub commands: u64,
    /// Commands refused for want of budget.
    pub commands_busy: u64,
    /// Of those, with alarms.
    pub alarms_busy: u64,
    /// Entries committed.
    pub entries: u64,
    /// Row changes in them.
    pub entry_changes: u64,
    /// Bytes in them.
    pub entry_bytes: u64,
    /// Entries proposed and not yet applied.
    pub entries_in_flight: u64,
    /// How often a chain was poisoned.
    pub poisonings: u64,
    /// Bytes of commands admitted and not yet answered.
    pub admitted_bytes: u64,
    /// Open gateway sessions.
    pub sessions: u64,
    /// Method calls made.
    pub method_calls: u64,
}

/// What to change of a site; what is not given stays as it is, or is the default of a new site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SiteChange {
    /// Who may have a twin in it.
    pub enrolment: Option<Enrolment>,
    /// What becomes of two gateways with one credential.
    pub conflict: Option<ConflictPolicy>,
}

/// What a change of a site led to, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SiteMade {
    /// The change made the site.
    pub created: bool,
    /// It was made before, and this time nothing was.
    pub replayed: bool,
}

impl From<Enrolment> for SiteChange {
    fn from(enrolment: Enrolment) -> Self {
        Self { enrolment: Some(enrolment), conflict: None }
    }
}
