//! What a grain is asked, and what it answers.

use crate::alarm::{Alarm, TakenAlarm};
use crate::ids::{GatewayId, SiteId};
use crate::numbers::{AttachmentNo, Boot, CallNo, OutboxId, Seq, Stay, Version, WallTime};
use crate::once::{CallAnswer, Once, OnceAnswer};
use crate::op::Op;
use crate::path::Path;
use crate::report::PackedReport;
use crate::value::Value;
use crate::view::{Audience, TwinView};

/// A change of `tags` or `desired` from the back office, in REST's terms; the grain translates it to path operations.
#[derive(Clone, Debug, PartialEq)]
pub struct SectionChange {
    /// Where in the section; the root for the whole section.
    pub at: Path,
    /// What to do there.
    pub kind: ChangeKind,
}

/// How REST changes a section or a part of it.
#[derive(Clone, Debug, PartialEq)]
pub enum ChangeKind {
    /// RFC 7396 merge patch.
    Merge(Value),
    /// Full replacement; nulls inside count as absent.
    Replace(Value),
    /// Removal; of the root: replacement with `{}`. Refused with `PathNotFound` where nothing is.
    Remove,
}

/// `If-Match` / `If-None-Match` of a write, against the steering etag (tags and desired).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// None given.
    #[default]
    None,
    /// `If-Match: *`: the twin must exist.
    Exists,
    /// `If-None-Match: *`: the twin must not exist.
    Absent,
    /// `If-Match` with etags: one of them must be the current steering etag.
    AnyOf(Vec<String>),
}

/// Who sends a numbered message: the gateway, its outbox and the stay that stamped the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The authenticated gateway of the session.
    pub gateway: GatewayId,
    /// The outbox that the session's hello committed.
    pub outbox: OutboxId,
    /// The stay stamped at append.
    pub stay: Stay,
}

/// What a numbered message of the twin-state class carries.
#[derive(Clone, Debug, PartialEq)]
pub enum StateBody {
    /// Path operations on `reported`.
    Report(Vec<Op>),
    /// The device has taken over everything up to this version of `desired`.
    DesiredApplied(Version),
    /// The device refuses what `version` set at `path`.
    DesiredRejected {
        /// Which property.
        path: Path,
        /// Which version of `desired` it refuses.
        version: Version,
        /// Why, for people.
        reason: String,
    },
    /// The gateway has lost these numbers for good (dead-lettered or refused); they count as seen.
    Lost,
}

/// One message to a twin.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// REST PUT: creates the twin, or replaces the sections given (absent ones become empty).
    Put {
        /// The site; a different one on an existing twin is refused with `OtherSite`.
        site: Option<SiteId>,
        /// New tags.
        tags: Value,
        /// New desired.
        desired: Value,
        /// Condition.
        precondition: Precondition,
    },
    /// As [`Command::Put`], answered with [`Answer::Steered`]: for bulk work, where rendering each whole document would cost more
    /// than the change.
    PutBriefly {
        /// The site; a different one on an existing twin is refused with `OtherSite`.
        site: Option<SiteId>,
        /// New tags.
        tags: Value,
        /// New desired.
        desired: Value,
        /// Condition.
        precondition: Precondition,
    },
    /// REST PATCH, and PUT/PATCH/DELETE of a section or a part of it.
    Steer {
        /// Change of tags.
        tags: Option<SectionChange>,
        /// Change of desired.
        desired: Option<SectionChange>,
        /// Condition.
        precondition: Precondition,
    },
    /// As [`Command::Steer`], answered with [`Answer::Steered`]: for bulk work as well.
    SteerBriefly {
        /// Change of tags.
        tags: Option<SectionChange>,
        /// Change of desired.
        desired: Option<SectionChange>,
        /// Condition.
        precondition: Precondition,
    },
    /// One of the changes above, or a method call, with an idempotency key. Carried out by [`Twin::step_once`](crate::twin::Twin::step_once).
    Once(Box<Once>),
    /// REST DELETE of the twin.
    Delete {
        /// Condition.
        precondition: Precondition,
    },
    /// The whole document.
    Read,
    /// The same, packed: see [`crate::view`].
    View {
        /// Who is to see it.
        audience: Audience,
    },
    /// Changes of `desired` since a version, as path operations or a snapshot.
    ReadDelta {
        /// The version that the asker knows; 0: nothing.
        since: Version,
    },
    /// A gateway begins, or takes up again, a stay.
    Attach {
        /// Who.
        sender: Sender,
        /// The last attachment number that the gateway saw; 0: none.
        saw: AttachmentNo,
        /// The site's enrolment is open: an unknown twin is created.
        may_create: bool,
    },
    /// The gateway no longer serves the device.
    Detach {
        /// Who.
        sender: Sender,
    },
    /// A numbered message of the twin-state class, covering `first..=last` (more than one number where coalesced).
    State {
        /// Who.
        sender: Sender,
        /// First number covered.
        first: Seq,
        /// Last number covered.
        last: Seq,
        /// What.
        body: StateBody,
    },
    /// The same for path operations on `reported`, as they came in a frame.
    Report {
        /// Who.
        sender: Sender,
        /// First number covered.
        first: Seq,
        /// Last number covered.
        last: Seq,
        /// The operations.
        report: PackedReport,
    },
    /// A numbered message of the alarm class.
    Alarm {
        /// Who.
        sender: Sender,
        /// First number covered.
        first: Seq,
        /// Last number covered: the first, unless numbers are lost.
        last: Seq,
        /// What; `None`: the gateway has lost these numbers for good, they count as seen.
        alarm: Option<Box<Alarm>>,
    },
    /// The latest alarms.
    ReadAlarms,
    /// An event, numbered per (outbox, boot, twin). Needs no attachment.
    Event {
        /// Who. The stay is not used.
        sender: Sender,
        /// The boot that numbered it.
        boot: Boot,
        /// Its number.
        seq: Seq,
        /// Event name.
        name: String,
        /// Payload.
        payload: Value,
    },
    /// The attached gateway has received `desired` up to this version.
    DesiredDelivered {
        /// Who.
        gateway: GatewayId,
        /// Up to which version.
        version: Version,
    },
    /// Opens a direct method call; the grain commits its number, then sends it down once.
    CallMethod {
        /// Method name.
        method: String,
        /// Payload.
        payload: Value,
        /// How long the caller waits, in milliseconds.
        timeout_ms: u64,
    },
    /// Closes a method call (answered, timed out or lost).
    CloseCall {
        /// Which.
        call: CallNo,
        /// How it ended, for a call that had an idempotency key.
        end: CallEnd,
    },
}

/// How a method call ended, as far as its caller knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum CallEnd {
    /// Whether the device acted is unknown: it did not answer in time, or its link or the caller was lost.
    #[default]
    Unknown,
    /// It reached no device. Its idempotency key is free again.
    NotDone,
    /// The device answered.
    Answered {
        /// HTTP-like.
        status: u16,
        /// What it said.
        payload: Value,
    },
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Done (applied and committed).
    Done,
    /// Taken before: nothing changed (a duplicate number).
    Duplicate,
    /// The document; `created` where a PUT made it.
    Document {
        /// The document.
        document: Box<crate::document::TwinDocument>,
        /// Did this command create the twin?
        created: bool,
    },
    /// What a [`Command::View`] asked for.
    View {
        /// What its audience is shown.
        view: TwinView,
        /// When the device was last heard, as far as the active grain knows.
        last_activity: WallTime,
    },
    /// What a [`Command::Once`] led to, now or before.
    Once(Box<OnceAnswer>),
    /// What a [`Command::SteerBriefly`] or [`Command::PutBriefly`] led to.
    Steered {
        /// Did this command create the twin?
        created: bool,
        /// Version of the whole twin, as in its document.
        version: u64,
        /// Version of desired: what `applied` will name once the device has followed.
        desired_version: Version,
        /// The steering etag, without quotes.
        steering_etag: String,
    },
    /// Attached under this number.
    Attached {
        /// The number.
        attachment: AttachmentNo,
        /// Current `desired.$version`: higher than what the gateway knows means there is a delta to fetch.
        desired_version: Version,
    },
    /// The delta asked for.
    Delta(DesiredDelta),
    /// The latest alarms, oldest first.
    Alarms(Vec<TakenAlarm>),
    /// The call is committed under this number and goes down to this gateway.
    CallOpened {
        /// Its number.
        call: CallNo,
        /// The gateway of the current attachment.
        gateway: GatewayId,
    },
    /// The call with this idempotency key was opened before, and is not opened again.
    CallKnown {
        /// Its number.
        call: CallNo,
        /// What the device answered; `None`: that is unknown, or not known yet.
        answer: Option<CallAnswer>,
    },
}

impl Command {
    /// Does it change nothing, whatever it meets? Then it needs no room in the log.
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Read | Self::View { .. } | Self::ReadDelta { .. } | Self::ReadAlarms)
    }

    /// May a life of the id begin or end with it? Then it needs the floor.
    pub fn may_begin_or_end(&self) -> bool {
        matches!(
            self,
            Self::Put { .. } | Self::PutBriefly { .. } | Self::Delete { .. } | Self::Attach { .. } | Self::Once(_)
        )
    }

    /// The site that the twin is to be registered at, which must exist.
    pub fn names_site(&self) -> Option<&SiteId> {
        match self {
            Self::Put { site, .. } | Self::PutBriefly { site, .. } => site.as_ref(),
            Self::Once(once) => once.change.names_site(),
            _ => None,
        }
    }
}

impl Answer {
    /// Adds what only the active grain knows: when it last heard the device.
    pub fn heard(&mut self, at: WallTime) {
        match self {
            Self::Document { document, .. } => document.last_activity = document.last_activity.max(at),
            Self::View { last_activity, .. } => *last_activity = (*last_activity).max(at),
            Self::Once(once) => {
                if let Some(document) = &mut once.document {
                    document.last_activity = document.last_activity.max(at);
                }
            }
            _ => {}
        }
    }
}

/// How `desired` differs from what somebody at version `from` knows.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredDelta {
    /// What was known.
    pub from: Version,
    /// What one is at after applying `ops`.
    pub to: Version,
    /// `ops` is one `Replace` at the root: what was known is of no use.
    pub snapshot: bool,
    /// The changes.
    pub ops: Vec<Op>,
}
