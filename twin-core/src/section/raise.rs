//! All versions of a section raised: see [`crate::recovery`].

use super::Section;
use super::node::{Node, Object};
use super::stamp::{Base, Stamp};
use crate::numbers::Version;
use crate::recovery::Raise;

impl<S: Stamp> Section<S> {
    /// Raises the version, and with it those of all that stands in the section: stamps stay as old against it as they were, which is
    /// how they are stored.
    pub(crate) fn raise(&mut self, by: Raise) {
        let from = Base { version: self.version, updated: self.updated };
        let to = Base { version: Version::new(by.number(self.version.get())), ..from };
        raise(&mut self.root, from, to);
        self.version = to.version;
    }
}

fn raise<S: Stamp>(object: &mut Object<S>, from: Base, to: Base) {
    (object.stamp, object.born) = S::object_from_wire(object.stamp.object_to_wire(object.born, from), to);
    for node in object.members.values_mut() {
        match node {
            Node::Leaf { stamp, .. } => *stamp = S::leaf_from_wire(stamp.leaf_to_wire(from), to),
            Node::Object(child) => raise(child, from, to),
        }
    }
}
