//! JSON values as twins hold them, and their comparison by value.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits::NESTING_MAX;

/// An object's members, in key order.
pub type Members = BTreeMap<Box<str>, Value>;

/// A JSON value. Serializes as itself, in JSON and in MessagePack.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`
    #[default]
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Box<str>),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Members),
}

/// A number, kept as it was written. Equal by value: 3 = 3.0.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    /// Written without fraction or exponent, and within `i64`.
    Integer(i64),
    /// Any other finite number.
    Float(f64),
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            // Documents hold integers within +-2^52 only, so the conversion is exact.
            (Self::Integer(i), Self::Float(f)) | (Self::Float(f), Self::Integer(i)) => *i as f64 == *f,
        }
    }
}

impl Value {
    /// An empty object.
    pub const fn empty_object() -> Self {
        Self::Object(Members::new())
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&Members> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// The text, if it is a string.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Number(Number::Integer(integer))
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Number(Number::Float(float))
    }
}

impl From<bool> for Value {
    fn from(bool: bool) -> Self {
        Self::Bool(bool)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(b) => serializer.serialize_bool(*b),
            Self::Number(Number::Integer(i)) => serializer.serialize_i64(*i),
            Self::Number(Number::Float(f)) => serializer.serialize_f64(*f),
            Self::String(s) => serializer.serialize_str(s),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Reads a value that stands `depth` levels inside another. A frame may nest as deep as it is long, so depth is bounded
/// here, before the stack is used up.
#[derive(Clone, Copy)]
pub(crate) struct ValueVisitor {
    depth: usize,
    /// Whether a member that comes twice is refused; if not, the last one counts.
    is_strict: bool,
}

/// What a strict reader says of a member that comes twice.
pub(crate) const MEMBER_TWICE: &str = "a member comes twice in an object";

impl ValueVisitor {
    /// For texts that people and their programs write: a member that comes twice is a mistake of theirs.
    pub(crate) const STRICT: Self = Self { depth: 0, is_strict: true };

    fn below<E: de::Error>(self) -> Result<Self, E> {
        if self.depth >= NESTING_MAX {
            return Err(E::custom(format_args!("a value nests deeper than {NESTING_MAX} levels")));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for ValueVisitor {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Value, E> {
        i64::try_from(v).map(Value::from).map_err(|_| E::custom(format_args!("integer {v} is beyond +-2^52")))
    }

    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Value, E> {
        if v.is_finite() { Ok(v.into()) } else { Err(E::custom("a number must be finite")) }
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v.into_boxed_str()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        // No capacity from the hint: a frame may claim any length.
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(below)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut members = Members::new();
        while let Some(key) = map.next_key::<Box<str>>()? {
            if members.insert(key, map.next_value_seed(below)?).is_some() && self.is_strict {
                return Err(de::Error::custom(MEMBER_TWICE));
            }
        }
        Ok(Value::Object(members))
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor { depth: 0, is_strict: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deeply_nested_frame_is_refused_before_the_stack_is_used_up() {
        let nested = |depth: usize| {
            let mut bytes = vec![0x91; depth];
            bytes.push(0xc0);
            rmp_serde::from_slice::<Value>(&bytes)
        };
        assert!(nested(NESTING_MAX).is_ok());
        assert!(nested(NESTING_MAX + 1).unwrap_err().to_string().contains("nests deeper than 64"));
        assert!(nested(1_000_000).is_err());
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        for bytes in
            [&[0xdd, 0xff, 0xff, 0xff, 0xff][..], &[0xdf, 0xff, 0xff, 0xff, 0xff], &[0xdb, 0xff, 0xff, 0xff, 0xff]]
        {
            assert!(rmp_serde::from_slice::<Value>(bytes).is_err());
        }
    }
}
