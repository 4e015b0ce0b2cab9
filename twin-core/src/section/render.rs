//! A section as people read it: with `$version` and `$metadata`, as Azure IoT Hub's users know them.

use super::Section;
use super::node::{Node, Object};
use super::stamp::Stamp;
use crate::time_text::rfc3339;
use crate::value::{Members, Value};

/// The member that holds a section's version.
pub const VERSION_KEY: &str = "$version";
/// The member that holds a section's metadata.
pub const METADATA_KEY: &str = "$metadata";

impl<S: Stamp> Section<S> {
    /// The section with `$version` and, where its nodes carry any, `$metadata`: `$lastUpdated` at every level, and
    /// `$lastUpdatedVersion` in `desired`.
    pub fn to_json(&self) -> Value {
        let mut members: Members = self.root.members.iter().map(|(key, node)| (key.clone(), node.to_value())).collect();
        members.insert(VERSION_KEY.into(), number(self.version.get()));
        if self.root.stamp.changed_at().is_some() {
            members.insert(METADATA_KEY.into(), object_metadata(&self.root));
        }
        Value::Object(members)
    }
}

fn number(raw: u64) -> Value {
    Value::from(i64::try_from(raw).unwrap_or(i64::MAX))
}

fn stamp_members<S: Stamp>(stamp: S) -> Members {
    let mut members = Members::new();
    if let Some(at) = stamp.changed_at() {
        members.insert("$lastUpdated".into(), Value::String(rfc3339(at).into()));
    }
    if let Some(version) = stamp.changed_by() {
        members.insert("$lastUpdatedVersion".into(), number(version.get()));
    }
    members
}

fn object_metadata<S: Stamp>(object: &Object<S>) -> Value {
    let mut members = stamp_members(object.stamp);
    members.extend(object.members.iter().map(|(key, node)| {
        let metadata = match node {
            Node::Leaf { stamp, .. } => Value::Object(stamp_members(*stamp)),
            Node::Object(object) => object_metadata(object),
        };
        (key.clone(), metadata)
    }));
    Value::Object(members)
}
