//! A line of the audit log.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::limits::AUDIT_TEXT_BYTES_MAX;

/// Which series a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = AuditKind)]
pub(crate) enum Kind {
    /// Of what needs scope `operate`.
    Changes,
    /// Of twins.
    Steering,
    /// Who was turned away.
    Security,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Changes, Self::Steering, Self::Security];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Changes => "changes",
            Self::Steering => "steering",
            Self::Security => "security",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// What is to be written: a line without its number and time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// What was asked (method and route), or what happened.
    pub(crate) what: String,
    /// Name of the admin token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) who: Option<String>,
    /// The address that it came from: of the proxy, where there is one between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// What it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<String>,
    /// More about it, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
    /// HTTP status of the answer. Absent from a change: it was begun, and how it ended is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    /// Code of the problem, if it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<String>,
    /// Number of the line that said that it was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) begun: Option<u64>,
    /// How many times, where several are one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<u64>,
}

impl Record {
    pub(crate) fn new(kind: Kind, what: impl Into<String>) -> Self {
        let (who, from, target, detail) = (None, None, None, None);
        let (status, code, begun, count) = (None, None, None, None);
        Self { kind, what: what.into(), who, from, target, detail, status, code, begun, count }
    }

    /// **Invariant:** no text of a line is longer than its bound, whatever a client sent: a file holds many lines.
    pub(super) fn clip(&mut self) {
        let texts = [&mut self.who, &mut self.from, &mut self.target, &mut self.detail, &mut self.code];
        for text in texts.into_iter().flatten().chain([&mut self.what]) {
            let end = (0..=AUDIT_TEXT_BYTES_MAX).rev().find(|&end| text.is_char_boundary(end));
            if text.len() > AUDIT_TEXT_BYTES_MAX {
                text.truncate(end.unwrap_or(0));
            }
        }
    }
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(crate) struct Line {
    /// Rises from entry to entry, of all kinds.
    pub(crate) n: u64,
    /// By the node's clock.
    #[schema(format = DateTime)]
    pub(crate) at: String,
    #[serde(flatten)]
    pub(crate) record: Record,
}
