//! The stored form of a section: `[version, updated, root]`, where an object is a map whose key `$` (which no property
//! may have) holds its stamp, and a leaf is the array `[stamp, value]`.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Section;
use super::node::{Node, Object};
use super::stamp::{Base, Stamp};
use crate::numbers::{Version, WallTime};
use crate::value::Value;

/// The key under which an object keeps its stamp.
pub(crate) const STAMP_KEY: &str = "$";

struct Stored<'a, T> {
    item: &'a T,
    base: Base,
}

impl<S: Stamp> Serialize for Stored<'_, Object<S>> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(Some(self.item.members.len() + 1))?;
        map.serialize_entry(STAMP_KEY, &self.item.stamp.object_to_wire(self.item.born, self.base))?;
        for (key, node) in &self.item.members {
            map.serialize_entry(key, &Stored { item: node, base: self.base })?;
        }
        map.end()
    }
}

impl<S: Stamp> Serialize for Stored<'_, Node<S>> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        match self.item {
            Node::Leaf { value, stamp } => {
                let mut leaf = serializer.serialize_tuple(2)?;
                leaf.serialize_element(&stamp.leaf_to_wire(self.base))?;
                leaf.serialize_element(value)?;
                leaf.end()
            }
            Node::Object(object) => Stored { item: object, base: self.base }.serialize(serializer),
        }
    }
}

impl<S: Stamp> Serialize for Section<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let base = Base { version: self.version, updated: self.updated };
        let mut tuple = serializer.serialize_tuple(3)?;
        tuple.serialize_element(&self.version)?;
        tuple.serialize_element(&self.updated)?;
        tuple.serialize_element(&Stored { item: &self.root, base })?;
        tuple.end()
    }
}

struct NodeSeed<S> {
    base: Base,
    kind: PhantomData<S>,
}

impl<S> NodeSeed<S> {
    fn new(base: Base) -> Self {
        Self { base, kind: PhantomData }
    }
}

impl<'de, S: Stamp> DeserializeSeed<'de> for NodeSeed<S> {
    type Value = Node<S>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node<S>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, S: Stamp> Visitor<'de> for NodeSeed<S> {
    type Value = Node<S>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a stored node: [stamp, value] or {\"$\": stamp, ...}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node<S>, A::Error> {
        let wire = seq.next_element()?.ok_or_else(|| A::Error::custom("a stored leaf lacks its stamp"))?;
        let value: Value = seq.next_element()?.ok_or_else(|| A::Error::custom("a stored leaf lacks its value"))?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Leaf { value, stamp: S::leaf_from_wire(wire, self.base) })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node<S>, A::Error> {
        let mut members = BTreeMap::new();
        let mut stamp = None;
        while let Some(key) = map.next_key::<Box<str>>()? {
            if &*key == STAMP_KEY {
                stamp = Some(S::object_from_wire(map.next_value()?, self.base));
            } else {
                members.insert(key, map.next_value_seed(NodeSeed::new(self.base))?);
            }
        }
        let (stamp, born) = stamp.ok_or_else(|| A::Error::custom("a stored object lacks its stamp"))?;
        Ok(Node::Object(Object { members, stamp, born }))
    }
}

impl<'de, S: Stamp> Deserialize<'de> for Section<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionVisitor<S>(PhantomData<S>);
        impl<'de, S: Stamp> Visitor<'de> for SectionVisitor<S> {
            type Value = Section<S>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a stored section: [version, updated, root]")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Section<S>, A::Error> {
                let lacks = |what: &str| A::Error::custom(format_args!("a stored section lacks its {what}"));
                let version: Version = seq.next_element()?.ok_or_else(|| lacks("version"))?;
                let updated: WallTime = seq.next_element()?.ok_or_else(|| lacks("time"))?;
                let seed = NodeSeed::new(Base { version, updated });
                let root = match seq.next_element_seed(seed)?.ok_or_else(|| lacks("root"))? {
                    Node::Object(root) => root,
                    Node::Leaf { .. } => return Err(A::Error::custom("a stored section's root is not an object")),
                };
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Section::from_root(version, updated, root))
            }
        }
        deserializer.deserialize_seq(SectionVisitor(PhantomData))
    }
}
