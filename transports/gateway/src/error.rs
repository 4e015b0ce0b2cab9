//! What can go wrong, and what to do about it.

use std::time::Duration;

use twin_core::refusal::{Refusal, RuleViolation};

use crate::core::admission::AppendError;
use crate::limits::READINGS_MAX;
use crate::outbox::file::OutboxError;

/// Why a gateway could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option.
    #[error("option {name} is {value}: {rule}")]
    Option {
        /// Which.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        rule: String,
    },
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The thread that writes the outbox.
    #[error("cannot start the thread that writes the outbox: {0}")]
    Thread(std::io::Error),
    /// No random bytes.
    #[error(transparent)]
    Entropy(#[from] twin_transports::entropy::EntropyError),
}

/// Why a message was not taken. Nothing changed, except where [`ReportError::NotDurable`] says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It breaks a rule of documents, names or payloads: it would be refused by the node.
    #[error(transparent)]
    Invalid(#[from] Refusal),
    /// The outbox does not take it.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It was taken, but the disk failed before it was durable: whether it takes effect is unknown.
    #[error("the disk failed before the message was durable, whether it takes effect is unknown: {message}")]
    NotDurable {
        /// What happened.
        message: String,
    },
}

impl From<RuleViolation> for ReportError {
    fn from(violation: RuleViolation) -> Self {
        Self::Invalid(violation.into())
    }
}

impl ReportError {
    /// Is there no room now, in the outbox, on its disk or in its flash budget, so that trying again later makes sense?
    pub fn is_full(&self) -> bool {
        matches!(
            self,
            Self::Append(AppendError::Full { .. } | AppendError::NoRoom { .. } | AppendError::FlashBudget { .. })
        )
    }

    /// When trying again makes sense, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Append(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// Why twins could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// No session, or it ended and no other was opened in time.
    #[error("the gateway is not connected to the node")]
    NotConnected,
    /// Too many readings are under way.
    #[error("readings of {READINGS_MAX} twins are under way, which is as many as may be; wait for some of them")]
    Busy,
    /// The node said no.
    #[error(transparent)]
    Refused(Refusal),
    /// No answer in time.
    #[error("the node did not answer in time")]
    TimedOut,
}
