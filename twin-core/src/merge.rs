//! RFC 7396 merge patches, and their translation to path operations.

use crate::op::Op;
use crate::path::Path;
use crate::section::{METADATA_KEY, VERSION_KEY};
use crate::value::{Members, Value};

/// Applies a merge patch to a plain value, as RFC 7396 defines it.
pub fn merge_patch(target: &mut Value, patch: Value) {
    let Value::Object(changes) = patch else {
        *target = patch;
        return;
    };
    for (key, change) in changes {
        let members = object_at(target);
        if change == Value::Null {
            members.remove(&key);
        } else {
            merge_patch(members.entry(key).or_default(), change);
        }
    }
    object_at(target);
}

/// Applies one path operation to a plain value.
pub fn apply_op(target: &mut Value, op: Op) {
    match op {
        Op::Set { path, value } => {
            let place = make_way(target, path.keys());
            let keeps = matches!((&*place, &value), (Value::Object(_), Value::Object(new)) if new.is_empty());
            if !keeps {
                *place = value;
            }
        }
        Op::Replace { path, value } => *make_way(target, path.keys()) = value,
        Op::Remove { path } => {
            let Some((last, way)) = path.keys().split_last() else {
                *target = Value::empty_object();
                return;
            };
            let mut at = target;
            for key in way {
                let Value::Object(members) = at else { return };
                let Some(next) = members.get_mut(key) else { return };
                at = next;
            }
            if let Value::Object(members) = at {
                members.remove(last);
            }
        }
    }
}

/// Applies path operations to a plain value, in order: what a gateway does with a delta.
pub fn apply_ops(target: &mut Value, ops: impl IntoIterator<Item = Op>) {
    for op in ops {
        apply_op(target, op);
    }
}

fn object_at(place: &mut Value) -> &mut Members {
    if !matches!(place, Value::Object(_)) {
        *place = Value::empty_object();
    }
    match place {
        Value::Object(members) => members,
        _ => unreachable!("made an object just above"),
    }
}

fn make_way<'a>(target: &'a mut Value, keys: &[Box<str>]) -> &'a mut Value {
    let mut at = target;
    for key in keys {
        at = object_at(at).entry(key.clone()).or_default();
    }
    at
}

/// The path operations of a merge patch of a whole section, without knowing what stands: a leaf is set, a null removes,
/// an object that sets nothing still makes an object. `$version` and `$metadata` at its root are ignored. A patch that
/// is no object becomes a replacement of the root, which the document rules refuse.
pub fn ops_of_patch(patch: Value) -> Vec<Op> {
    ops_of_patch_at(&Path::root(), patch)
}

pub(crate) fn ops_of_patch_at(at: &Path, patch: Value) -> Vec<Op> {
    let mut ops = Vec::new();
    match patch {
        Value::Object(mut members) => {
            if at.is_root() {
                strip_reserved(&mut members);
                for (key, change) in members {
                    walk(at.child(&key), change, &mut ops);
                }
            } else {
                walk(at.clone(), Value::Object(members), &mut ops);
            }
        }
        value if at.is_root() => ops.push(Op::Replace { path: at.clone(), value }),
        value => {
            walk(at.clone(), value, &mut ops);
        }
    }
    ops
}

/// Whether something was set at or below the path.
fn walk(path: Path, change: Value, ops: &mut Vec<Op>) -> bool {
    match change {
        Value::Null => {
            ops.push(Op::Remove { path });
            false
        }
        Value::Object(members) => {
            let here = ops.len();
            let mut sets = false;
            for (key, change) in members {
                sets |= walk(path.child(&key), change, ops);
            }
            if !sets {
                // RFC 7396: {"a": {"b": null}} makes an object of `a` even where a scalar stood.
                ops.insert(here, Op::Set { path, value: Value::empty_object() });
            }
            true
        }
        value => {
            ops.push(Op::Set { path, value });
            true
        }
    }
}

/// Drops `$version` and `$metadata`, which a body may carry because it was read before.
pub fn strip_reserved(members: &mut Members) {
    members.remove(VERSION_KEY);
    members.remove(METADATA_KEY);
}

/// Drops members that are null, at any depth outside arrays: in a replacement they count as absent.
pub fn drop_nulls(members: &mut Members) {
    members.retain(|_, value| *value != Value::Null);
    for value in members.values_mut() {
        if let Value::Object(members) = value {
            drop_nulls(members);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn json(text: &str) -> Value {
        parse(text.as_bytes(), "test").unwrap()
    }

    /// RFC 7396, appendix A.
    const APPENDIX_A: [(&str, &str, &str); 15] = [
        (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
        (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
        (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
        (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
        (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
        (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
        (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
        (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
        (r#"{"a":"foo"}"#, "null", "null"),
        (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
        (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
        ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
        ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    ];

    #[test]
    fn merge_patch_agrees_with_the_table_of_rfc_7396() {
        for (original, patch, result) in APPENDIX_A {
            let mut value = json(original);
            merge_patch(&mut value, json(patch));
            assert_eq!(value, json(result), "{original} patched with {patch}");
        }
    }

    #[test]
    fn the_translation_to_operations_agrees_with_the_table_where_sections_allow_it() {
        for (original, patch, result) in APPENDIX_A {
            if !original.starts_with('{') || !patch.starts_with('{') || original.contains("null") {
                continue;
            }
            let mut value = json(original);
            apply_ops(&mut value, ops_of_patch(json(patch)));
            assert_eq!(value, json(result), "{original} patched with {patch}");
        }
    }

    #[test]
    fn a_patch_that_only_removes_still_makes_an_object_of_a_scalar() {
        let mut value = json(r#"{"a":1}"#);
        apply_ops(&mut value, ops_of_patch(json(r#"{"a":{"b":null}}"#)));
        assert_eq!(value, json(r#"{"a":{}}"#));
    }

    #[test]
    fn version_and_metadata_of_a_body_are_ignored_at_its_root_only() {
        let ops = ops_of_patch(json(r#"{"$version":9,"$metadata":{"x":1},"a":{"$version":1}}"#));
        assert_eq!(ops, [Op::Set { path: Path::from_keys(["a", "$version"]), value: 1.into() }]);
    }

    #[test]
    fn a_patch_that_is_no_object_is_left_for_the_rules_to_refuse() {
        let ops = ops_of_patch(json("3"));
        let violation = crate::rules::check_ops(&ops, crate::section::SectionKind::Reported).unwrap_err();
        assert_eq!((violation.code.as_str(), violation.pointer.as_str()), ("not-an-object", "/reported"));
    }
}
