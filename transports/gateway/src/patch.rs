//! A merge patch straight into the form in which it is kept and sent, where the device's paths are known already: one walk, no
//! path operations in between. Whatever is not the everyday falls back to the general way, which also says what is wrong.

use twin_core::limits::{DEPTH_MAX, INTEGER_MAX, OPS_MAX, REPORTED_BYTES_MAX, STRING_BYTES_MAX};
use twin_core::value::{Members, Number, Value};
use twin_transports::codec::pack;

use crate::outbox::body::{remove, report_head, set_head};
use crate::outbox::dictionary::{Dictionary, PathsNeeded};

/// A byte of a value's MessagePack stands for at most so many of its JSON, commas included: a control character in a string,
/// which takes six.
const JSON_BYTES_PER_BYTE: usize = 6;

/// Appends the report's body; `None`: nothing was appended, the general way must be gone.
pub(crate) fn encode_patch(patch: &Value, dictionary: &Dictionary, out: &mut Vec<u8>) -> Option<PathsNeeded> {
    let Value::Object(members) = patch else { return None };
    let ops = leaves(members);
    if ops > OPS_MAX {
        return None;
    }
    let begin = out.len();
    report_head(out, ops);
    let mut walk = Walk { dictionary, out, needed: 0, json_bytes: 2 };
    let encoded = walk.members(members, Dictionary::root(), 1);
    let (needed, json_bytes) = (walk.needed, walk.json_bytes);
    let size_bytes = json_bytes + JSON_BYTES_PER_BYTE * (out.len() - begin);
    if encoded.is_none() || size_bytes > REPORTED_BYTES_MAX {
        out.truncate(begin);
        return None;
    }
    Some(needed)
}

fn leaves(members: &Members) -> usize {
    let below = |value: &Value| match value {
        Value::Object(members) => leaves(members),
        _ => 1,
    };
    members.values().map(below).sum()
}

struct Walk<'a> {
    dictionary: &'a Dictionary,
    out: &'a mut Vec<u8>,
    needed: PathsNeeded,
    /// What the keys take as JSON, at most.
    json_bytes: usize,
}

impl Walk<'_> {
    /// Members that stand `depth` deep, below a node of the dictionary. Says whether any of them sets something: an object
    /// that sets nothing must still be made, which is not the everyday.
    fn members(&mut self, members: &Members, node: u32, depth: usize) -> Option<bool> {
        let mut sets = false;
        for (key, value) in members {
            let child = self.dictionary.child(node, key)?;
            if let Value::Object(below) = value {
                sets |= self.members(below, child, depth + 1).filter(|sets| *sets)?;
                continue;
            }
            // A path of the dictionary obeys the rules of keys and depth.
            let index = self.dictionary.index_at(child)?;
            self.json_bytes += self.dictionary.json_bytes(index);
            self.needed = self.needed.max(index + 1);
            pack::array(self.out, 2);
            pack::uint(self.out, u64::from(index));
            match value {
                Value::Null => remove(self.out),
                value => {
                    set_head(self.out);
                    leaf(self.out, value, depth)?;
                    sets = true;
                }
            }
        }
        Some(sets)
    }
}

/// Appends a value that is set `depth` deep; `None`: it breaks a rule, or is not simple.
pub(crate) fn leaf(out: &mut Vec<u8>, value: &Value, depth: usize) -> Option<()> {
    match value {
        Value::Array(items) if items.is_empty() || depth < DEPTH_MAX => {
            pack::array(out, items.len());
            items.iter().try_for_each(|item| match item {
                Value::Null => {
                    pack::nil(out);
                    Some(())
                }
                item => scalar(out, item),
            })
        }
        value => scalar(out, value),
    }
}

fn scalar(out: &mut Vec<u8>, value: &Value) -> Option<()> {
    match value {
        Value::Bool(value) => pack::boolean(out, *value),
        Value::Number(Number::Integer(integer)) if (-INTEGER_MAX..=INTEGER_MAX).contains(integer) => {
            pack::int(out, *integer);
        }
        Value::Number(Number::Float(value)) if value.is_finite() => pack::float(out, *value),
        Value::String(value) if value.len() <= STRING_BYTES_MAX => pack::text(out, value),
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use twin_core::command::StateBody;
    use twin_core::merge::ops_of_patch;
    use twin_core::path::Path;
    use twin_core::rules::check_ops;
    use twin_core::section::SectionKind;

    use super::*;
    use crate::outbox::body::{Body, encode_body};

    fn value() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-100_i64..100).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z\\x01\"]{0,8}".prop_map(|text| Value::from(text.as_str())),
        ];
        scalar.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
                prop::collection::btree_map(prop::sample::select(vec!["a", "b", "$version", "c d"]), inner, 0..4)
                    .prop_map(|members| Value::Object(
                        members.into_iter().map(|(key, value)| (key.into(), value)).collect()
                    )),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn it_encodes_what_the_general_way_encodes_and_refuses_what_that_refuses(patch in value()) {
            let mut dictionary = Dictionary::load([]);
            for path in ["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a"] {
                dictionary.intern(&Path::from_pointer(path).unwrap());
            }
            let mut quick = b"before".to_vec();
            let Some(needed) = encode_patch(&patch, &dictionary, &mut quick) else {
                prop_assert_eq!(quick, b"before");
                return Ok(());
            };
            let ops = ops_of_patch(patch);
            prop_assert!(check_ops(&ops, SectionKind::Reported).is_ok());
            let mut general = b"before".to_vec();
            let known = dictionary.paths().len();
            prop_assert_eq!(encode_body(&Body::State(StateBody::Report(ops)), &mut dictionary, &mut general), needed);
            prop_assert_eq!(dictionary.paths().len(), known);
            prop_assert_eq!(quick, general);
        }
    }

    #[test]
    fn a_report_of_known_paths_needs_no_other_way() {
        let mut dictionary = Dictionary::load([]);
        dictionary.intern(&Path::from_keys(["a"]));
        dictionary.intern(&Path::from_keys(["b", "c"]));
        let patch = twin_core::json::parse(br#"{"a":[1,null,"x"],"b":{"c":1.5}}"#, "x").unwrap();
        assert_eq!(encode_patch(&patch, &dictionary, &mut Vec::new()), Some(2));
        let large = Value::Object([("a".into(), Value::from("x".repeat(STRING_BYTES_MAX + 1).as_str()))].into());
        assert_eq!(encode_patch(&large, &dictionary, &mut Vec::new()), None);
    }
}
