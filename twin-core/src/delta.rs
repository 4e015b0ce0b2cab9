//! `desired`, with what it takes to tell a gateway exactly what it missed.
//!
//! Leaves know the version that set them and objects the version they were born in. Removed keys leave a *grave*. For
//! a gateway at version V: leaf newer than V -> set, object born after V -> replace, grave newer than V -> remove.
//! Graves are bounded; the oldest goes first and raises the *delta floor*, below which only a snapshot will do.
//!
//! **Invariant:** for every V from the floor on, every property that stood at V and does not stand now is covered by a
//! grave newer than V or by something newer than V that stands at or above it.

use serde::{Deserialize, Serialize};

use crate::command::DesiredDelta;
use crate::limits::{GRAVES_BYTES_MAX, GRAVES_MAX, OPS_MAX};
use crate::numbers::{Version, WallTime};
use crate::op::Op;
use crate::path::Path;
use crate::recovery::Raise;
use crate::refusal::Refusal;
use crate::section::{Node, Object, Section, Versioned};

/// A removed property.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grave {
    /// What stood there.
    pub path: Path,
    /// The version that removed it.
    pub version: Version,
}

crate::record! {
    /// The `desired` section.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Desired {
        /// Its versioned tree.
        section: Section<Versioned>,
        /// Versions below this one get a snapshot.
        floor: Version,
        /// Removed properties, oldest first; none stands now.
        graves: Vec<Grave> = Vec::new(),
    }
}

impl Desired {
    /// An empty section at its first version.
    pub fn new(version: Version, now: WallTime) -> Self {
        Self { section: Section::new(version, now), floor: version, graves: Vec::new() }
    }

    /// A section whose first version already holds something.
    pub(crate) fn with_first(section: Section<Versioned>) -> Self {
        Self { floor: section.version(), section, graves: Vec::new() }
    }

    /// The versioned tree.
    pub fn section(&self) -> &Section<Versioned> {
        &self.section
    }

    /// Versions below this one get a snapshot.
    pub fn floor(&self) -> Version {
        self.floor
    }

    /// As it is in a new lineage: versions of older ones are all below the floor.
    pub(crate) fn recover(&mut self, raise: Raise) {
        self.section.raise(raise);
        self.floor = self.section.version();
        self.graves.clear();
    }

    /// [`Section::apply`], with graves.
    pub fn apply(&mut self, ops: Vec<Op>, now: WallTime) -> Result<Option<Vec<Op>>, Refusal> {
        let effective = self.section.apply(ops, now)?;
        for op in effective.iter().flatten() {
            self.keep_graves(op);
        }
        self.bound_graves();
        Ok(effective)
    }

    fn keep_graves(&mut self, op: &Op) {
        let version = self.section.version();
        match op {
            Op::Remove { path } => {
                self.graves.retain(|grave| !path.covers(&grave.path));
                self.graves.push(Grave { path: path.clone(), version });
            }
            Op::Set { path, .. } => self.fill_graves(path),
            Op::Replace { path, .. } => {
                let born = match self.section.node(path) {
                    Some(Node::Object(object)) => object.born(),
                    _ => Version::default(),
                };
                if born == version {
                    self.fill_graves(path);
                } else {
                    // It stands for more removals than there may be graves.
                    self.graves.clear();
                    self.floor = version;
                }
            }
        }
    }

    /// Something new stands here: it and its ancestors stand, and nothing that lay below can.
    fn fill_graves(&mut self, path: &Path) {
        self.graves.retain(|grave| !path.covers(&grave.path) && !grave.path.covers(path));
    }

    fn bound_graves(&mut self) {
        let bytes = |graves: &[Grave]| -> usize {
            graves.iter().flat_map(|grave| grave.path.keys()).map(|key| key.len() + 2).sum()
        };
        while self.graves.len() > GRAVES_MAX || bytes(&self.graves) > GRAVES_BYTES_MAX {
            self.floor = self.floor.max(self.graves.remove(0).version);
        }
    }

    /// How the section differs from what it was at `since`. A version that it never had, or that is too old, gets a
    /// snapshot; so does one that would take more operations than a list may have.
    pub fn delta(&self, since: Version) -> DesiredDelta {
        let to = self.section.version();
        if since < self.floor || since > to {
            return self.snapshot(since);
        }
        let mut ops: Vec<Op> = self
            .graves
            .iter()
            .filter(|grave| grave.version > since)
            .map(|grave| Op::Remove { path: grave.path.clone() })
            .collect();
        newer(self.section.root(), &Path::root(), since, &mut ops);
        if ops.len() > OPS_MAX {
            return self.snapshot(since);
        }
        DesiredDelta { from: since, to, snapshot: false, ops }
    }

    fn snapshot(&self, since: Version) -> DesiredDelta {
        let ops = vec![Op::Replace { path: Path::root(), value: self.section.to_value() }];
        DesiredDelta { from: since, to: self.section.version(), snapshot: true, ops }
    }
}

fn newer(object: &Object<Versioned>, path: &Path, since: Version, ops: &mut Vec<Op>) {
    // A change below stamps all above, so an older object holds nothing newer.
    if object.stamp().version <= since {
        return;
    }
    for (key, node) in object.members() {
        match node {
            Node::Leaf { value, stamp } if stamp.version > since => {
                ops.push(Op::Set { path: path.child(key), value: value.clone() });
            }
            Node::Leaf { .. } => {}
            Node::Object(child) if child.born() > since => {
                ops.push(Op::Replace { path: path.child(key), value: child.to_value() });
            }
            Node::Object(child) => newer(child, &path.child(key), since, ops),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn path(pointer: &str) -> Path {
        Path::from_pointer(pointer).unwrap()
    }

    fn set(pointer: &str, value: impl Into<Value>) -> Op {
        Op::Set { path: path(pointer), value: value.into() }
    }

    fn desired() -> Desired {
        Desired::new(Version::new(1), WallTime::new(0))
    }

    #[test]
    fn a_gateway_gets_only_what_it_missed() {
        let mut desired = desired();
        desired.apply(vec![set("/a", 1), set("/b/c", 2)], WallTime::new(1)).unwrap();
        desired.apply(vec![set("/b/d", 3)], WallTime::new(2)).unwrap();
        desired.apply(vec![Op::Remove { path: path("/a") }], WallTime::new(3)).unwrap();
        let delta = desired.delta(Version::new(2));
        assert!(!delta.snapshot);
        assert_eq!(delta.ops, [Op::Remove { path: path("/a") }, set("/b/d", 3)]);
        assert_eq!(desired.delta(Version::new(4)).ops, []);
    }

    #[test]
    fn a_version_from_the_future_or_below_the_floor_gets_a_snapshot() {
        let mut desired = desired();
        desired.apply(vec![set("/a", 1)], WallTime::new(1)).unwrap();
        assert!(desired.delta(Version::new(3)).snapshot);
        assert!(desired.delta(Version::new(0)).snapshot);
        assert!(!desired.delta(Version::new(1)).snapshot);
    }

    #[test]
    fn the_oldest_grave_goes_first_and_raises_the_floor() {
        let mut desired = desired();
        for i in 0..=GRAVES_MAX {
            desired.apply(vec![set(&format!("/k{i}"), 1)], WallTime::new(1)).unwrap();
        }
        let before = desired.section().version();
        for i in 0..=GRAVES_MAX {
            desired.apply(vec![Op::Remove { path: path(&format!("/k{i}")) }], WallTime::new(1)).unwrap();
        }
        assert_eq!(desired.graves.len(), GRAVES_MAX);
        assert_eq!(desired.floor(), before.next());
        assert!(desired.delta(before).snapshot);
        assert!(!desired.delta(before.next()).snapshot);
    }

    #[test]
    fn a_property_that_came_back_leaves_no_grave() {
        let mut desired = desired();
        for pointer in ["/a", "/b/c", "/d/e"] {
            desired.apply(vec![set(pointer, 1)], WallTime::new(1)).unwrap();
        }
        for pointer in ["/a", "/b", "/d/e"] {
            desired.apply(vec![Op::Remove { path: path(pointer) }], WallTime::new(1)).unwrap();
        }
        assert_eq!(desired.graves.len(), 3);
        for pointer in ["/a", "/b/other", "/d"] {
            desired.apply(vec![set(pointer, 1)], WallTime::new(1)).unwrap();
        }
        assert_eq!(desired.graves, []);
    }

    #[test]
    fn long_removed_paths_cannot_swell_the_row() {
        let mut desired = desired();
        for i in 0..20 {
            let pointer = format!("/{}{i}", "k".repeat(1000));
            desired.apply(vec![set(&pointer, 1)], WallTime::new(1)).unwrap();
            desired.apply(vec![Op::Remove { path: path(&pointer) }], WallTime::new(1)).unwrap();
        }
        assert!(desired.graves.len() <= GRAVES_BYTES_MAX / 1000);
    }
}
