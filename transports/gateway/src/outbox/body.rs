//! What a message says, and the form in which it is kept and sent: the body of a [`WireBody`], whose path indexes are those of
//! the outbox's dictionary, or an event's name and payload one after the other. A path that the dictionary has no room for
//! stands in the index's place as the array of its keys; such a body is only kept, never sent as it is.
//!
//! [`WireBody`]: twin_transports::frames::batch::WireBody

use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use twin_core::alarm::Alarm;
use twin_core::command::StateBody;
use twin_core::numbers::Version;
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::value::Value;
use twin_transports::codec::pack;
use twin_transports::frames::batch::WireOp;

use crate::outbox::dictionary::{Dictionary, INLINE, PathsNeeded};
use crate::outbox::format::Class;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// A message of the twin-state class.
    State(StateBody),
    /// An event: name and payload.
    Event(String, Value),
    /// An alarm; `None`: its number is lost.
    Alarm(Option<Box<Alarm>>),
}

impl Body {
    /// The class of its message.
    pub(crate) fn class(&self) -> Class {
        match self {
            Self::Event(..) => Class::Event,
            Self::Alarm(_) => Class::Alarm,
            Self::State(_) => Class::State,
        }
    }
}

/// Appends the body in the form in which it is kept; new paths get their numbers.
pub(crate) fn encode_body(body: &Body, dictionary: &mut Dictionary, out: &mut Vec<u8>) -> PathsNeeded {
    let mut paths = Paths { dictionary, needed: 0 };
    match body {
        Body::State(StateBody::Report(ops)) => {
            report_head(out, ops.len());
            for op in ops {
                pack::array(out, 2);
                paths.put(op.path(), out);
                match op {
                    Op::Set { value, .. } => {
                        set_head(out);
                        pack::value(out, value);
                    }
                    Op::Remove { .. } => remove(out),
                    Op::Replace { value, .. } => {
                        pack::map(out, 1);
                        pack::text(out, "o");
                        pack::value(out, value);
                    }
                }
            }
        }
        Body::State(StateBody::DesiredApplied(version)) => {
            pack::map(out, 1);
            pack::text(out, "a");
            pack::uint(out, version.get());
        }
        Body::State(StateBody::DesiredRejected { path, version, reason }) => {
            pack::map(out, 1);
            pack::text(out, "x");
            pack::array(out, 3);
            paths.put(path, out);
            pack::uint(out, version.get());
            pack::text(out, reason);
        }
        Body::State(StateBody::Lost) | Body::Alarm(None) => pack::text(out, "l"),
        Body::Alarm(Some(alarm)) => {
            pack::map(out, 1);
            pack::text(out, "m");
            let written = rmp_serde::encode::write(out, alarm);
            debug_assert!(written.is_ok(), "a record always encodes");
        }
        Body::Event(name, payload) => {
            pack::text(out, name);
            pack::value(out, payload);
        }
    }
    paths.needed
}

/// The head of a report's body; its operations follow, each `[path, what]`.
pub(crate) fn report_head(out: &mut Vec<u8>, ops: usize) {
    pack::map(out, 1);
    pack::text(out, "r");
    pack::array(out, ops);
}

/// The head of a set; the value follows.
pub(crate) fn set_head(out: &mut Vec<u8>) {
    pack::map(out, 1);
    pack::text(out, "s");
}

/// A removal.
pub(crate) fn remove(out: &mut Vec<u8>) {
    pack::text(out, "d");
}

struct Paths<'a> {
    dictionary: &'a mut Dictionary,
    needed: PathsNeeded,
}

impl Paths<'_> {
    fn put(&mut self, path: &Path, out: &mut Vec<u8>) {
        if let Some(index) = self.dictionary.intern(path) {
            pack::uint(out, u64::from(index));
            self.needed = self.needed.max(index + 1);
        } else {
            inline_path(out, path);
            self.needed = INLINE;
        }
    }
}

/// A path in the place of its number.
pub(crate) fn inline_path(out: &mut Vec<u8>, path: &Path) {
    pack::array(out, path.keys().len());
    for key in path.keys() {
        pack::text(out, key);
    }
}

/// A body that this release cannot read.
#[derive(Debug, thiserror::Error)]
#[error("a message's body cannot be read: {0}")]
pub(crate) struct BodyError(String);

/// Reads a body.
pub(crate) fn decode_body(class: Class, bytes: &[u8], dictionary: &Dictionary) -> Result<Body, BodyError> {
    let wrong = |error: rmp_serde::decode::Error| BodyError(error.to_string());
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    match class {
        Class::Event => {
            let name = String::deserialize(&mut reader).map_err(wrong)?;
            Ok(Body::Event(name, Value::deserialize(&mut reader).map_err(wrong)?))
        }
        Class::Alarm => match KeptAlarm::deserialize(&mut reader).map_err(wrong)? {
            KeptAlarm::Alarm(alarm) => Ok(Body::Alarm(Some(alarm))),
            KeptAlarm::Lost => Ok(Body::Alarm(None)),
        },
        Class::State => {
            let kept = Kept::deserialize(&mut reader).map_err(wrong)?;
            Ok(Body::State(kept.resolve(dictionary)?))
        }
    }
}

/// A path's number, or the path.
enum PathRef {
    Index(u32),
    Inline(Path),
}

impl PathRef {
    fn resolve(self, dictionary: &Dictionary) -> Result<Path, BodyError> {
        match self {
            Self::Inline(path) => Ok(path),
            Self::Index(index) => dictionary.paths().get(index as usize).cloned().ok_or_else(|| {
                BodyError(format!("there is no path {index}, the dictionary has {}", dictionary.paths().len()))
            }),
        }
    }
}

impl<'de> Deserialize<'de> for PathRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;
        impl<'de> Visitor<'de> for RefVisitor {
            type Value = PathRef;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the number of a path, or its keys")
            }
            fn visit_u64<E: de::Error>(self, index: u64) -> Result<PathRef, E> {
                u32::try_from(index).map(PathRef::Index).map_err(|_| E::custom("a path's number is too large"))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<PathRef, A::Error> {
                let mut keys: Vec<Box<str>> = Vec::new();
                while let Some(key) = seq.next_element()? {
                    keys.push(key);
                }
                Ok(PathRef::Inline(Path::from_keys(keys)))
            }
        }
        deserializer.deserialize_any(RefVisitor)
    }
}

#[derive(Deserialize)]
enum Kept {
    #[serde(rename = "r")]
    Report(Vec<(PathRef, WireOp)>),
    #[serde(rename = "a")]
    DesiredApplied(Version),
    #[serde(rename = "x")]
    DesiredRejected(PathRef, Version, String),
    #[serde(rename = "l")]
    Lost,
}

#[derive(Deserialize)]
enum KeptAlarm {
    #[serde(rename = "m")]
    Alarm(Box<Alarm>),
    #[serde(rename = "l")]
    Lost,
}

impl Kept {
    fn resolve(self, dictionary: &Dictionary) -> Result<StateBody, BodyError> {
        Ok(match self {
            Self::Report(ops) => StateBody::Report(
                ops.into_iter()
                    .map(|(path, op)| {
                        let path = path.resolve(dictionary)?;
                        Ok(match op {
                            WireOp::Set(value) => Op::Set { path, value },
                            WireOp::Remove => Op::Remove { path },
                            WireOp::Replace(value) => Op::Replace { path, value },
                        })
                    })
                    .collect::<Result<_, BodyError>>()?,
            ),
            Self::DesiredApplied(version) => StateBody::DesiredApplied(version),
            Self::DesiredRejected(path, version, reason) => {
                StateBody::DesiredRejected { path: path.resolve(dictionary)?, version, reason }
            }
            Self::Lost => StateBody::Lost,
        })
    }
}

/// A body as dead letters keep it: by itself, without the dictionary.
#[derive(Serialize)]
enum StoredRef<'a> {
    #[serde(rename = "r")]
    Report(&'a [Op]),
    #[serde(rename = "a")]
    DesiredApplied(Version),
    #[serde(rename = "x")]
    DesiredRejected(&'a Path, Version, &'a str),
    #[serde(rename = "l")]
    Lost,
    #[serde(rename = "e")]
    Event(&'a str, &'a Value),
    #[serde(rename = "m")]
    Alarm(&'a Alarm),
    #[serde(rename = "n")]
    AlarmLost,
}

/// As it is read.
#[derive(Deserialize)]
enum Stored {
    #[serde(rename = "r")]
    Report(Vec<Op>),
    #[serde(rename = "a")]
    DesiredApplied(Version),
    #[serde(rename = "x")]
    DesiredRejected(Path, Version, String),
    #[serde(rename = "l")]
    Lost,
    #[serde(rename = "e")]
    Event(String, Value),
    #[serde(rename = "m")]
    Alarm(Box<Alarm>),
    #[serde(rename = "n")]
    AlarmLost,
}

impl Serialize for Body {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stored = match self {
            Self::State(StateBody::Report(ops)) => StoredRef::Report(ops),
            Self::State(StateBody::DesiredApplied(version)) => StoredRef::DesiredApplied(*version),
            Self::State(StateBody::DesiredRejected { path, version, reason }) => {
                StoredRef::DesiredRejected(path, *version, reason)
            }
            Self::State(StateBody::Lost) => StoredRef::Lost,
            Self::Event(name, payload) => StoredRef::Event(name, payload),
            Self::Alarm(Some(alarm)) => StoredRef::Alarm(alarm),
            Self::Alarm(None) => StoredRef::AlarmLost,
        };
        stored.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Report(ops) => Self::State(StateBody::Report(ops)),
            Stored::DesiredApplied(version) => Self::State(StateBody::DesiredApplied(version)),
            Stored::DesiredRejected(path, version, reason) => {
                Self::State(StateBody::DesiredRejected { path, version, reason })
            }
            Stored::Lost => Self::State(StateBody::Lost),
            Stored::Event(name, payload) => Self::Event(name, payload),
            Stored::Alarm(alarm) => Self::Alarm(Some(alarm)),
            Stored::AlarmLost => Self::Alarm(None),
        })
    }
}

#[cfg(test)]
mod tests {
    use twin_transports::frames::batch::WireBody;

    use super::*;

    fn bodies() -> Vec<Body> {
        let path = |key: &str| Path::from_keys(["a", key]);
        vec![
            Body::State(StateBody::Report(vec![
                Op::Set { path: path("x"), value: Value::from(3.5) },
                Op::Remove { path: path("y") },
                Op::Replace { path: path("x"), value: Value::Object([("k".into(), Value::from(1))].into()) },
            ])),
            Body::State(StateBody::Report(vec![])),
            Body::State(StateBody::DesiredApplied(Version::new(300))),
            Body::State(StateBody::DesiredRejected { path: path("z"), version: Version::new(1), reason: "no".into() }),
            Body::State(StateBody::Lost),
            Body::Event("opened".into(), Value::from("door")),
        ]
    }

    #[test]
    fn a_kept_body_is_what_goes_on_the_wire() {
        let mut dictionary = Dictionary::load([]);
        let mut out = Vec::new();
        encode_body(&bodies()[0], &mut dictionary, &mut out);
        let wire: WireBody = rmp_serde::from_slice(&out).unwrap();
        assert_eq!(rmp_serde::to_vec(&wire).unwrap(), out);
        assert!(matches!(&wire, WireBody::Report(ops) if ops.iter().map(|(path, _)| *path).eq([0, 1, 0])), "{wire:?}");
    }

    #[test]
    fn every_body_is_read_as_it_was_encoded_with_room_in_the_dictionary_and_without() {
        let mut full = Dictionary::load([]);
        while full.intern(&Path::from_keys([full.paths().len().to_string()])).is_some() {}
        for mut dictionary in [Dictionary::load([]), full] {
            for body in bodies() {
                let mut out = Vec::new();
                let needed = encode_body(&body, &mut dictionary, &mut out);
                assert!(needed == INLINE || needed as usize <= dictionary.paths().len());
                assert_eq!(decode_body(body.class(), &out, &dictionary).unwrap(), body);
                assert!(decode_body(body.class(), &out[..out.len() - 1], &dictionary).is_err());
            }
        }
    }
}
