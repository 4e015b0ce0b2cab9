//! Why something was not done. Every refusal has a stable code, says what was wrong and what to do, and means that
//! nothing changed (except [`Refusal::OutcomeUnknown`] and [`Refusal::Unavailable`], which say that they can't know).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{GatewayName, SiteId};
use crate::limits::IDEMPOTENCY_KEPT_MIN;
use crate::numbers::{AttachmentNo, Boot, Seq};

/// A document rule that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} (at {pointer:?})")]
pub struct RuleViolation {
    /// Stable code: `depth`, `key`, `string-length`, `integer-range`, `number`, `nodes`, `not-an-object`, ...
    pub code: String,
    /// JSON pointer to what is wrong, from the document's root (`/desired/a/b`) where the section is known.
    pub pointer: String,
    /// For people; names the value and the bound.
    pub message: String,
    /// The limit that was broken, if it is a number.
    pub limit: Option<u64>,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such twin.
    #[error("there is no twin {twin}; register it with PUT, or set its site's enrolment to \"open\"")]
    NotFound {
        /// The id asked for.
        twin: String,
    },
    /// Nothing at that path.
    #[error("there is nothing at {pointer}")]
    PathNotFound {
        /// JSON pointer.
        pointer: String,
    },
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("the precondition does not hold: {message}")]
    PreconditionFailed {
        /// What was asked and what is.
        message: String,
    },
    /// A document rule is broken.
    #[error(transparent)]
    Rule(#[from] RuleViolation),
    /// A section, payload or message is too large.
    #[error("{what} would have {size_bytes} bytes, the limit is {limit_bytes}")]
    TooLarge {
        /// What is too large, e.g. `desired`.
        what: String,
        /// JSON pointer to it.
        pointer: String,
        /// Its size.
        size_bytes: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// The twin belongs to another site.
    #[error("the twin belongs to site {site}")]
    OtherSite {
        /// Where it belongs.
        site: SiteId,
    },
    /// No such site.
    #[error("there is no site {site}; create it with PUT /api/v1/sites/{site}")]
    SiteNotFound {
        /// The site.
        site: SiteId,
    },
    /// No such gateway.
    #[error("site {site} has no gateway {name}")]
    GatewayNotFound {
        /// The site.
        site: SiteId,
        /// The name.
        name: GatewayName,
    },
    /// The name is taken. Credentials are shown once: remove the gateway first to get new ones.
    #[error(
        "site {site} already has a gateway {name}; its credentials were shown once, remove it first to make new ones"
    )]
    GatewayExists {
        /// The site.
        site: SiteId,
        /// The name.
        name: GatewayName,
    },
    /// The hello's boot is not above the committed one: the disk was rolled back, or two gateways use one identity.
    #[error(
        "boot {boot} is not above boot {committed}, which was committed for this outbox, or another outbox has taken its place: its disk was \
         rolled back or copied, or a second process speaks with the same credentials; let one process run for a gateway, give any other \
         one credentials of its own, and go on with a new outbox"
    )]
    StaleBoot {
        /// The boot in the hello.
        boot: Boot,
        /// The committed one.
        committed: Boot,
    },
    /// Another gateway has a session with these credentials, and its site's policy is to let no second one in.
    #[error(
        "another gateway is connected with the credentials of {gateway}: one of the two has a copy; give each its own credentials, or          rotate these"
    )]
    CredentialInUse {
        /// Whose credentials.
        gateway: String,
    },
    /// The stay is not attached (any more known): attach first.
    #[error("the stay is not attached: attach it first")]
    NotAttached,
    /// A newer stay or another gateway's attachment took over: this content will never be applied.
    #[error("superseded: the device was attached again since")]
    Superseded,
    /// Numbers are missing before this message: resend from `next`.
    #[error("numbers are missing: resend from {next}")]
    Gap {
        /// First number that the twin has not seen.
        next: Seq,
    },
    /// Another attachment is newer than the one the gateway saw: attach again once the device was heard again.
    #[error("another attachment ({last}) is newer: attach again when the device is heard again")]
    Conflict {
        /// The current attachment.
        last: AttachmentNo,
    },
    /// The device's gateway is not connected, or no gateway ever attached it.
    #[error("the device is not connected: {message}")]
    NotConnected {
        /// Which link is missing.
        message: String,
    },
    /// The gateway has no handler for that method.
    #[error("the device's gateway has no method {method:?}")]
    MethodNotFound {
        /// The method.
        method: String,
    },
    /// The device did not answer a method call in time. It may still carry it out.
    #[error("the device did not answer within {timeout_ms} ms; whether it acted is unknown")]
    TimedOut {
        /// The timeout.
        timeout_ms: u64,
    },
    /// The link or the node was lost after a method call was sent.
    #[error("the link was lost after the call was sent; whether the device acted is unknown, and it is not sent again")]
    OutcomeUnknown,
    /// A budget is used up.
    #[error("busy: {what} is used up; try again in {retry_after_ms} ms")]
    Busy {
        /// Which budget.
        what: String,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// Leadership or the chain was lost: for reads try again; for writes the outcome is unknown, trying again is safe
    /// where the change is numbered or conditional.
    #[error("unavailable: {message}; try again in {retry_after_ms} ms")]
    Unavailable {
        /// What happened.
        message: String,
        /// When to try again.
        retry_after_ms: u64,
    },
    /// The request contradicts itself or the protocol.
    #[error("{message}")]
    Invalid {
        /// What is wrong.
        message: String,
    },
    /// Twins or gateways hang on the site.
    #[error("site {site} still has {hanging}; delete them first, or the site with all of them (cascade=true)")]
    SiteNotEmpty {
        /// The site.
        site: SiteId,
        /// What it has.
        hanging: String,
    },
    /// The site is on its way out: nothing new comes into it, and nothing brings it back.
    #[error("site {site} is being deleted; it can be made again once it is gone")]
    SiteDeleting {
        /// The site.
        site: SiteId,
    },
    /// The site that always exists.
    #[error("site {site} always exists and cannot be deleted")]
    SiteNeeded {
        /// The site.
        site: SiteId,
    },
    /// The idempotency key belongs to another change.
    #[error(
        "idempotency key {key:?} was used before for {used_for}, and this is another request; it stands for that one for at least \
         {minutes} minutes from its use: send that request again as it was, or this one with a new key",
        minutes = IDEMPOTENCY_KEPT_MIN.as_secs() / 60
    )]
    KeyReused {
        /// The key.
        key: String,
        /// What was made with it: "change 7 of twin a".
        used_for: String,
    },
    /// As many idempotency keys are remembered as can be, and the oldest is too young to be forgotten.
    #[error(
        "{keys} idempotency keys of {of} are remembered, which is the limit, each for at least {minutes} minutes from its use; the \
         oldest makes room in {retry_after_ms} ms: try again then, do more in one request, or send this one without a key",
        minutes = IDEMPOTENCY_KEPT_MIN.as_secs() / 60
    )]
    KeysUsedUp {
        /// The limit.
        keys: u64,
        /// Who remembers them: "changes of twin a".
        of: String,
        /// When the oldest is forgotten.
        retry_after_ms: u64,
    },
    /// The idempotency key made credentials before. They are stored nowhere, so they cannot be shown a second time, and no second ones
    /// are made.
    #[error(
        "idempotency key {key:?} made {what} before: its secret was shown once and is stored nowhere; nothing was made now. If that answer \
         was lost, {instead}"
    )]
    KeySpent {
        /// The key.
        key: String,
        /// What it made.
        what: String,
        /// What to do.
        instead: String,
    },
}

impl Refusal {
    /// Stable code for programs: REST bodies, frames and metrics carry it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "twin-not-found",
            Self::PathNotFound { .. } => "path-not-found",
            Self::PreconditionFailed { .. } => "precondition-failed",
            Self::Rule(_) => "document-rule",
            Self::TooLarge { .. } => "too-large",
            Self::OtherSite { .. } => "other-site",
            Self::SiteNotFound { .. } => "site-not-found",
            Self::GatewayNotFound { .. } => "gateway-not-found",
            Self::GatewayExists { .. } => "gateway-exists",
            Self::StaleBoot { .. } => "stale-boot",
            Self::CredentialInUse { .. } => "credential-in-use",
            Self::NotAttached => "not-attached",
            Self::Superseded => "superseded",
            Self::Gap { .. } => "gap",
            Self::Conflict { .. } => "attach-conflict",
            Self::NotConnected { .. } => "not-connected",
            Self::MethodNotFound { .. } => "method-not-found",
            Self::TimedOut { .. } => "method-timed-out",
            Self::OutcomeUnknown => "outcome-unknown",
            Self::Busy { .. } => "busy",
            Self::Unavailable { .. } => "unavailable",
            Self::Invalid { .. } => "invalid",
            Self::SiteNotEmpty { .. } => "site-not-empty",
            Self::SiteDeleting { .. } => "site-deleting",
            Self::SiteNeeded { .. } => "site-needed",
            Self::KeyReused { .. } => "idempotency-key-reused",
            Self::KeysUsedUp { .. } => "idempotency-keys-used-up",
            Self::KeySpent { .. } => "idempotency-key-spent",
        }
    }

    /// When trying again makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after_ms, .. }
            | Self::Unavailable { retry_after_ms, .. }
            | Self::KeysUsedUp { retry_after_ms, .. } => Some(Duration::from_millis(*retry_after_ms)),
            _ => None,
        }
    }
}
