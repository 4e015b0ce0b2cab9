//! A section of a twin (`tags`, `desired` or `reported`) as a versioned tree.
//!
//! **Invariant:** an effective change raises the version by exactly 1; a change that changes nothing leaves version,
//! times and bytes as they are; a refused change leaves everything as it is.

mod apply;
mod change;
mod encode;
mod node;
mod overlap;
mod overwrite;
mod packed;
mod raise;
mod render;
mod stamp;

pub(crate) use encode::STAMP_KEY;
pub use node::{Node, Object};
pub use packed::{Overwrite, PackedReported};
pub use render::{METADATA_KEY, VERSION_KEY};
pub use stamp::{Base, SectionKind, Stamp, Timed, Unstamped, Versioned};

use crate::json::compact_len;
use crate::numbers::{Version, WallTime};
use crate::path::Path;
use crate::value::Value;

/// The back office's labels. No metadata.
pub type Tags = Section<Unstamped>;
/// What the device last said. A time per node.
pub type Reported = Section<Timed>;

/// A versioned JSON object.
#[derive(Clone, Debug)]
pub struct Section<S: Stamp> {
    version: Version,
    updated: WallTime,
    root: Object<S>,
    /// Length as compact JSON; kept with each change, computed on load.
    size_bytes: usize,
    /// Object members and array elements at any depth; likewise.
    nodes: usize,
}

impl<S: Stamp> PartialEq for Section<S> {
    fn eq(&self, other: &Self) -> bool {
        (self.version, self.updated, &self.root) == (other.version, other.updated, &other.root)
    }
}

impl<S: Stamp> Section<S> {
    /// An empty section at its first version.
    pub fn new(version: Version, now: WallTime) -> Self {
        Self::from_root(version, now, Object::new(version, now))
    }

    fn from_root(version: Version, updated: WallTime, root: Object<S>) -> Self {
        let (size_bytes, nodes) = (root.compact_len(), root.node_count());
        Self { version, updated, root, size_bytes, nodes }
    }

    /// `$version`.
    pub fn version(&self) -> Version {
        self.version
    }

    /// When it last changed.
    pub fn updated(&self) -> WallTime {
        self.updated
    }

    /// The tree.
    pub fn root(&self) -> &Object<S> {
        &self.root
    }

    /// Length of the plain value as compact JSON.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Object members and array elements, at any depth.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// The plain value.
    pub fn to_value(&self) -> Value {
        self.root.to_value()
    }

    /// The node at a path; `None` for the root (which is no node) and where nothing is.
    pub fn node(&self, path: &Path) -> Option<&Node<S>> {
        self.root.node(path.keys())
    }

    /// The plain value at a path; the whole section at the root.
    pub fn get(&self, path: &Path) -> Option<Value> {
        if path.is_root() { Some(self.to_value()) } else { self.node(path).map(Node::to_value) }
    }
}

impl<S: Stamp> Object<S> {
    /// Length as compact JSON.
    fn compact_len(&self) -> usize {
        let members: usize =
            self.members.iter().map(|(key, node)| crate::json::quoted_len(key) + 1 + node.compact_len()).sum();
        2 + members + self.members.len().saturating_sub(1)
    }

    /// Members and array elements at any depth.
    fn node_count(&self) -> usize {
        self.members.values().map(|node| 1 + node.node_count()).sum()
    }
}

impl<S: Stamp> Node<S> {
    fn compact_len(&self) -> usize {
        match self {
            Self::Leaf { value, .. } => compact_len(value),
            Self::Object(object) => object.compact_len(),
        }
    }

    /// Nodes below this one.
    fn node_count(&self) -> usize {
        match self {
            Self::Leaf { value, .. } => node_count(value),
            Self::Object(object) => object.node_count(),
        }
    }
}

/// Object members and array elements below a value, at any depth.
pub fn node_count(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(|item| 1 + node_count(item)).sum(),
        Value::Object(members) => members.values().map(|member| 1 + node_count(member)).sum(),
        _ => 0,
    }
}
