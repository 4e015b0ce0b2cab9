//! The nodes of a section's tree.

use std::collections::BTreeMap;

use super::stamp::Stamp;
use crate::numbers::{Version, WallTime};
use crate::value::{Members, Value};

/// A node of the tree.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<S: Stamp> {
    /// A scalar or an array, which is replaced whole.
    Leaf {
        /// Its value.
        value: Value,
        /// The change that set it.
        stamp: S,
    },
    /// An object, maybe empty.
    Object(Object<S>),
}

/// An object of the tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Object<S: Stamp> {
    pub(crate) members: BTreeMap<Box<str>, Node<S>>,
    pub(crate) stamp: S,
    pub(crate) born: S::Birth,
}

impl<S: Stamp> Object<S> {
    /// Empty, born and changed now.
    pub(crate) fn new(version: Version, now: WallTime) -> Self {
        Self { members: BTreeMap::new(), stamp: S::new(version, now), born: S::birth(version) }
    }

    /// All of a plain object, born and changed now. Nulls count as absent.
    pub(crate) fn from_members(members: Members, version: Version, now: WallTime) -> Self {
        let mut object = Self::new(version, now);
        object.members.extend(
            members
                .into_iter()
                .filter(|(_, value)| *value != Value::Null)
                .map(|(key, value)| (key, Node::from_value(value, version, now))),
        );
        object
    }

    /// The members, in key order.
    pub fn members(&self) -> impl Iterator<Item = (&str, &Node<S>)> {
        self.members.iter().map(|(key, node)| (&**key, node))
    }

    /// Its last change: its own, or that of anything below it.
    pub fn stamp(&self) -> S {
        self.stamp
    }

    /// Since when an object stands here without a break.
    pub fn born(&self) -> S::Birth {
        self.born
    }

    pub(crate) fn node(&self, keys: &[Box<str>]) -> Option<&Node<S>> {
        let (first, rest) = keys.split_first()?;
        let child = self.members.get(first)?;
        match (child, rest) {
            (node, []) => Some(node),
            (Node::Object(object), rest) => object.node(rest),
            (Node::Leaf { .. }, _) => None,
        }
    }

    /// The plain value.
    pub fn to_value(&self) -> Value {
        Value::Object(self.members.iter().map(|(key, node)| (key.clone(), node.to_value())).collect())
    }
}

impl<S: Stamp> Node<S> {
    pub(crate) fn from_value(value: Value, version: Version, now: WallTime) -> Self {
        match value {
            Value::Object(members) => Self::Object(Object::from_members(members, version, now)),
            value => Self::Leaf { value, stamp: S::new(version, now) },
        }
    }

    /// Its last change.
    pub fn stamp(&self) -> S {
        match self {
            Self::Leaf { stamp, .. } => *stamp,
            Self::Object(object) => object.stamp,
        }
    }

    /// The plain value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Leaf { value, .. } => value.clone(),
            Self::Object(object) => object.to_value(),
        }
    }

    /// Equal to a plain value, numbers by value?
    pub(crate) fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Leaf { value, .. }, other) => value == other,
            (Self::Object(object), Value::Object(members)) => {
                object.members.len() == members.len()
                    && object.members.iter().zip(members).all(|((a, node), (b, value))| a == b && node.equals(value))
            }
            (Self::Object(_), _) => false,
        }
    }
}
