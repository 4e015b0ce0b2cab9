//! How far the device has followed `desired`, per property: derived, not stored. Only rejections are.
//!
//! A property here is a leaf of `desired`: a scalar, an array, or an empty object. Its state is the first that holds:
//! 1. `applied` where `reported` has the same value at the same path (what the device shows beats what it said; an empty
//!    object is matched by any object);
//! 2. `rejected` where the device rejected it, or something above it, at or after the version that set it. Neither an
//!    acknowledgement of that version nor of a later one takes it back ("all of 5 but this"); setting the property anew
//!    does;
//! 3. `applied` where the device acknowledged the version that set it, or a later one;
//! 4. `delivered` where its gateway received that version;
//! 5. `pending`.
//!
//! Asked about an older version of a path (or one that no longer stands), the answer is `superseded`.

use crate::limits::{REJECTIONS_BYTES_MAX, REJECTIONS_MAX};
use crate::numbers::Version;
use crate::path::Path;
use crate::section::{Node, Object, Reported, Section, Timed, Versioned};
use crate::value::{Members, Value};

crate::record! {
    /// What the device refused.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Rejection {
        /// The property, or an object above several.
        pub path: Path,
        /// The version of `desired` that the device looked at.
        pub version: Version,
        /// Why, for people.
        pub reason: String,
    }
}

/// State of one property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Convergence {
    /// Not yet at the gateway.
    Pending,
    /// At the gateway.
    Delivered,
    /// The device has it.
    Applied,
    /// The device refuses it.
    Rejected {
        /// Why, for people.
        reason: String,
    },
    /// Another version of the property, or its removal, came since.
    Superseded,
}

impl Convergence {
    /// Its name in documents.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Applied => "applied",
            Self::Rejected { .. } => "rejected",
            Self::Superseded => "superseded",
        }
    }
}

/// All that convergence is derived from.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// What is desired.
    pub desired: &'a Section<Versioned>,
    /// What is reported.
    pub reported: Reported,
    /// The gateway has up to this version.
    pub delivered: Version,
    /// The device acknowledged up to this version.
    pub acked: Version,
    /// What the device refused, oldest first.
    pub rejections: &'a [Rejection],
}

impl Progress<'_> {
    /// State of `version` of the property at `path`.
    pub fn state_of(&self, path: &Path, version: Version) -> Convergence {
        match self.desired.node(path) {
            Some(Node::Leaf { value, stamp }) if stamp.version == version => {
                let same = self.reported.node(path).is_some_and(|node| node.equals(value));
                self.derive(path, version, same)
            }
            Some(Node::Object(object)) if object.members.is_empty() && object.stamp.version == version => {
                self.derive(path, version, matches!(self.reported.node(path), Some(Node::Object(_))))
            }
            _ => Convergence::Superseded,
        }
    }

    fn derive(&self, path: &Path, version: Version, same_reported: bool) -> Convergence {
        derive(self.rejections, Some(path), version, same_reported, self.acked, self.delivered)
    }

    /// `{"/price": {"state", "version", "reason"?}}` of every property.
    pub fn to_json(&self) -> Value {
        let mut members = Members::new();
        self.walk(self.desired.root(), Some(self.reported.root()), &Path::root(), &mut members);
        Value::Object(members)
    }

    fn walk(&self, object: &Object<Versioned>, reported: Option<&Object<Timed>>, path: &Path, members: &mut Members) {
        for (key, node) in object.members() {
            let path = path.child(key);
            let shown = reported.and_then(|object| object.members.get(key));
            let (version, same) = match node {
                Node::Leaf { value, stamp } => (stamp.version, shown.is_some_and(|node| node.equals(value))),
                Node::Object(child) if child.members.is_empty() => {
                    (child.stamp.version, matches!(shown, Some(Node::Object(_))))
                }
                Node::Object(child) => {
                    let reported = match shown {
                        Some(Node::Object(object)) => Some(object),
                        _ => None,
                    };
                    self.walk(child, reported, &path, members);
                    continue;
                }
            };
            let state = self.derive(&path, version, same);
            let mut entry = Members::new();
            entry.insert("state".into(), state.name().into());
            entry.insert("version".into(), i64::try_from(version.get()).unwrap_or(i64::MAX).into());
            if let Convergence::Rejected { reason } = state {
                entry.insert("reason".into(), Value::String(reason.into()));
            }
            members.insert(path.to_string().into(), Value::Object(entry));
        }
    }
}

/// The rules above, for one property. Its path matters to rejections only.
pub(crate) fn derive(
    rejections: &[Rejection],
    path: Option<&Path>,
    version: Version,
    same_reported: bool,
    acked: Version,
    delivered: Version,
) -> Convergence {
    if same_reported {
        return Convergence::Applied;
    }
    let rejects = |r: &&Rejection| r.version >= version && path.is_some_and(|path| r.path.covers(path));
    if let Some(rejection) = rejections.iter().rev().find(rejects) {
        return Convergence::Rejected { reason: rejection.reason.clone() };
    }
    if acked >= version {
        Convergence::Applied
    } else if delivered >= version {
        Convergence::Delivered
    } else {
        Convergence::Pending
    }
}

/// Does any property at or below the path stand at this version or an older one, so that a rejection means it?
pub(crate) fn concerns(desired: &Section<Versioned>, rejection: &Rejection) -> bool {
    fn oldest_leaf(object: &Object<Versioned>) -> Option<Version> {
        if object.members.is_empty() {
            return Some(object.stamp.version);
        }
        object
            .members
            .values()
            .filter_map(|node| match node {
                Node::Leaf { stamp, .. } => Some(stamp.version),
                Node::Object(child) => oldest_leaf(child),
            })
            .min()
    }
    let oldest = if rejection.path.is_root() {
        oldest_leaf(desired.root())
    } else {
        match desired.node(&rejection.path) {
            Some(Node::Leaf { stamp, .. }) => Some(stamp.version),
            Some(Node::Object(object)) => oldest_leaf(object),
            None => None,
        }
    };
    oldest.is_some_and(|oldest| oldest <= rejection.version)
}

/// Keeps a rejection; the last word about a path counts, and the oldest go where there are too many.
pub(crate) fn keep(rejections: &mut Vec<Rejection>, rejection: Rejection) {
    rejections.retain(|standing| standing.path != rejection.path);
    rejections.push(rejection);
    let bytes = |all: &[Rejection]| -> usize {
        all.iter().map(|r| r.reason.len() + r.path.keys().iter().map(|key| key.len() + 2).sum::<usize>()).sum()
    };
    while rejections.len() > 1 && (rejections.len() > REJECTIONS_MAX || bytes(rejections) > REJECTIONS_BYTES_MAX) {
        rejections.remove(0);
    }
}
