//! What the application says, validated before it is stamped: a message that breaks a rule never takes a number.

use std::sync::Arc;

use parking_lot::RwLock;
use serde::Deserialize as _;
use twin_core::alarm::{Alarm, Severity};
use twin_core::command::StateBody;
use twin_core::ids::TwinId;
use twin_core::json::compact_len;
use twin_core::limits::{REASON_BYTES_MAX, REPORTED_BYTES_MAX};
use twin_core::merge::ops_of_patch;
use twin_core::numbers::{Version, WallTime};
use twin_core::path::Path;
use twin_core::refusal::{Refusal, RuleViolation};
use twin_core::rules::{check_name, check_ops, check_path, check_payload};
use twin_core::section::SectionKind;
use twin_core::value::Value;

use crate::core::append::Drafts;
use crate::error::ReportError;
use crate::limits::SOURCE_BYTES_MAX;
use crate::outbox::body::{Body, encode_body};
use crate::outbox::dictionary::{Dictionary, PathsNeeded};
use crate::outbox::format::Class;
use crate::patch::encode_patch;

/// A report, for [`crate::Gateway::report_many`].
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The device.
    pub twin: TwinId,
    /// Merge patch of its `reported`: null removes, arrays are replaced whole. Shared, so that who reports the same to many, or again,
    /// copies nothing.
    pub patch: Arc<Value>,
    /// Where it comes from, if it is replayed.
    pub source: Option<SourcePosition>,
}

/// A position in a source of reports, stored together with the report: after a crash the source goes on from
/// [`crate::Gateway::position`], and no row takes effect twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourcePosition {
    /// Name of the source, e.g. of a file. At most 256 bytes.
    pub source: Arc<str>,
    /// Rises with each report of the source.
    pub position: u64,
}

impl Report {
    /// A report of a device.
    pub fn new(twin: TwinId, patch: impl Into<Arc<Value>>) -> Self {
        Self { twin, patch: patch.into(), source: None }
    }

    /// That stands at this position of its source.
    #[must_use]
    pub fn at(mut self, source: impl Into<Arc<str>>, position: u64) -> Self {
        self.source = Some(SourcePosition { source: source.into(), position });
        self
    }

    pub(crate) fn draft(self, dictionary: &RwLock<Dictionary>, drafts: &mut Drafts) -> Result<(), ReportError> {
        let source = checked(self.source)?;
        let known = encode_patch(&self.patch, &dictionary.read(), &mut drafts.bodies);
        let paths = match known {
            Some(paths) => paths,
            None => encode_checked(Arc::unwrap_or_clone(self.patch), dictionary, drafts)?,
        };
        drafts.push(self.twin, Class::State, paths, source);
        Ok(())
    }
}

/// The general way: paths that are new, and patches that break a rule.
fn encode_checked(
    patch: Value,
    dictionary: &RwLock<Dictionary>,
    drafts: &mut Drafts,
) -> Result<PathsNeeded, ReportError> {
    // What does not fit by itself fits no section; what only the sum makes too large is the node's to refuse.
    let size_bytes = compact_len(&patch);
    if size_bytes > REPORTED_BYTES_MAX {
        return Err(too_large("report", size_bytes, REPORTED_BYTES_MAX));
    }
    let ops = ops_of_patch(patch);
    check_ops(&ops, SectionKind::Reported)?;
    Ok(encode_body(&Body::State(StateBody::Report(ops)), &mut dictionary.write(), &mut drafts.bodies))
}

fn checked(source: Option<SourcePosition>) -> Result<Option<(Arc<str>, u64)>, ReportError> {
    match source {
        Some(SourcePosition { source, .. }) if source.is_empty() || source.len() > SOURCE_BYTES_MAX => Err(invalid(
            format!("the name of a source has 1 to {SOURCE_BYTES_MAX} bytes, this one has {}", source.len()),
        )),
        source => Ok(source.map(|at| (at.source, at.position))),
    }
}

pub(crate) fn event(name: &str, payload: Value) -> Result<Body, ReportError> {
    check_name(name, "event")?;
    check_payload(&payload, "event payload")?;
    Ok(Body::Event(name.to_owned(), payload))
}

pub(crate) fn alarm(name: &str, severity: Severity, raised_at: WallTime, payload: Value) -> Result<Body, ReportError> {
    let alarm = Alarm { name: name.to_owned(), severity, raised_at, payload };
    alarm.check()?;
    Ok(Body::Alarm(Some(Box::new(alarm))))
}

pub(crate) fn applied(version: Version) -> Body {
    Body::State(StateBody::DesiredApplied(version))
}

pub(crate) fn rejected(path: &Path, version: Version, reason: &str) -> Result<Body, ReportError> {
    check_path(path, SectionKind::Desired)?;
    if reason.len() > REASON_BYTES_MAX {
        return Err(too_large("reason", reason.len(), REASON_BYTES_MAX));
    }
    Ok(Body::State(StateBody::DesiredRejected { path: path.clone(), version, reason: reason.to_owned() }))
}

/// From serde_json's value, which holds integers that no document may.
pub(crate) fn value_of(json: &serde_json::Value) -> Result<Value, ReportError> {
    Value::deserialize(json).map_err(|error| {
        ReportError::Invalid(Refusal::Rule(RuleViolation {
            code: "integer-range".into(),
            pointer: "/reported".into(),
            message: error.to_string(),
            limit: None,
        }))
    })
}

pub(crate) fn invalid(message: String) -> ReportError {
    ReportError::Invalid(Refusal::Invalid { message })
}

pub(crate) fn too_large(what: &str, size_bytes: usize, limit_bytes: usize) -> ReportError {
    ReportError::Invalid(Refusal::TooLarge {
        what: what.into(),
        pointer: String::new(),
        size_bytes: size_bytes as u64,
        limit_bytes: limit_bytes as u64,
    })
}
