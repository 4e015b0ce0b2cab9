//! How an attempt or a session ended.

use std::time::Duration;

use quinn::ConnectionError;
use twin_transports::codec::FrameError;
use twin_transports::frames::session::Refused;
use twin_transports::refuse::{RefusalCode, SessionRefusal};

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    /// The gateway stops.
    #[error("stopped")]
    Stopped,
    /// The node said no, or no more.
    #[error("{code}: {message}")]
    Refused {
        /// Stable code.
        code: String,
        /// For people.
        message: String,
        /// When to try again, if the node said so.
        retry_after: Option<Duration>,
    },
    /// The link failed.
    #[error("{0}")]
    Failed(String),
}

impl End {
    pub(crate) fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Is it this refusal?
    pub(crate) fn is(&self, wanted: RefusalCode) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted.as_str())
    }
}

impl From<Refused> for End {
    fn from(refused: Refused) -> Self {
        Self::Refused {
            code: refused.code,
            message: refused.message,
            retry_after: refused.retry_after_ms.map(Duration::from_millis),
        }
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        Self::failed(error)
    }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        match SessionRefusal::from_connection_error(&error) {
            Some(refusal) => Self::Refused {
                code: refusal.code.as_str().to_owned(),
                message: refusal.message,
                retry_after: refusal.retry_after,
            },
            None => Self::failed(error),
        }
    }
}
