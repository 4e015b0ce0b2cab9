//! The document rules: what may stand in a section, and how deep, long and large it may be. Sizes and node counts of a
//! whole section are measured where it changes ([`Section::apply`](crate::section::Section::apply)).

use crate::json::compact_len;
use crate::limits::{
    DEPTH_MAX, INTEGER_MAX, KEY_BYTES_MAX, NAME_BYTES_MAX, NESTING_MAX, OPS_MAX, PAYLOAD_BYTES_MAX, STRING_BYTES_MAX,
};
use crate::op::Op;
use crate::path::Path;
use crate::refusal::{Refusal, RuleViolation};
use crate::section::SectionKind;
use crate::value::{Number, Value};

/// The way from the document's root to a value, on the stack: a pointer is only written where a rule is broken.
struct Trail<'a> {
    before: Option<&'a Trail<'a>>,
    step: Step<'a>,
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

impl<'a> Trail<'a> {
    fn section(kind: SectionKind) -> Self {
        Self { before: None, step: Step::Key(kind.name()) }
    }

    fn key(&'a self, key: &'a str) -> Self {
        Self { before: Some(self), step: Step::Key(key) }
    }

    fn index(&'a self, index: usize) -> Self {
        Self { before: Some(self), step: Step::Index(index) }
    }

    fn write(&self, pointer: &mut String) {
        if let Some(before) = self.before {
            before.write(pointer);
        }
        pointer.push('/');
        match self.step {
            Step::Key(key) => pointer.push_str(&key.replace('~', "~0").replace('/', "~1")),
            Step::Index(index) => pointer.push_str(&index.to_string()),
        }
    }

    fn broken(&self, code: &str, message: String, limit: Option<usize>) -> RuleViolation {
        let mut pointer = String::new();
        self.write(&mut pointer);
        RuleViolation { code: code.to_owned(), pointer, message, limit: limit.map(|limit| limit as u64) }
    }
}

fn check_key(key: &str, here: &Trail<'_>) -> Result<(), RuleViolation> {
    if key.len() > KEY_BYTES_MAX {
        let message = format!("a key has {} bytes, the limit is {KEY_BYTES_MAX}", key.len());
        return Err(here.broken("key", message, Some(KEY_BYTES_MAX)));
    }
    if let Some(character) = key.chars().find(|c| c.is_control() || matches!(c, '.' | '$' | ' ')) {
        let message =
            format!("the key {key:?} holds {character:?}; control characters, '.', '$' and space are not allowed");
        return Err(here.broken("key", message, None));
    }
    Ok(())
}

fn check_depth(depth: usize, max: usize, here: &Trail<'_>) -> Result<(), RuleViolation> {
    if depth > max {
        return Err(here.broken("depth", format!("this is nested {depth} deep, the limit is {max}"), Some(max)));
    }
    Ok(())
}

fn check_number(number: Number, here: &Trail<'_>) -> Result<(), RuleViolation> {
    match number {
        Number::Integer(integer) if !(-INTEGER_MAX..=INTEGER_MAX).contains(&integer) => {
            let message = format!("the integer {integer} is beyond +-2^52 ({INTEGER_MAX}): send it as a string");
            Err(here.broken("integer-range", message, Some(INTEGER_MAX as usize)))
        }
        Number::Float(float) if !float.is_finite() => {
            Err(here.broken("number", format!("{float} is not a finite number"), None))
        }
        _ => Ok(()),
    }
}

fn check_string(text: &str, here: &Trail<'_>) -> Result<(), RuleViolation> {
    if text.len() > STRING_BYTES_MAX {
        let message = format!("a string has {} bytes, the limit is {STRING_BYTES_MAX}", text.len());
        return Err(here.broken("string-length", message, Some(STRING_BYTES_MAX)));
    }
    Ok(())
}

/// A value of a section that stands `depth` keys below the section's own object.
fn check_value(value: &Value, depth: usize, here: &Trail<'_>) -> Result<(), RuleViolation> {
    check_depth(depth, DEPTH_MAX, here)?;
    match value {
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) => check_number(*number, here),
        Value::String(text) => check_string(text, here),
        Value::Array(items) => {
            items.iter().enumerate().try_for_each(|(index, item)| check_value(item, depth + 1, &here.index(index)))
        }
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            let there = here.key(key);
            check_key(key, &there)?;
            check_value(member, depth + 1, &there)
        }),
    }
}

/// Calls `check` with the trail to a path whose keys obey the rules.
fn at_path(
    keys: &[Box<str>],
    here: &Trail<'_>,
    check: &mut dyn FnMut(&Trail<'_>) -> Result<(), RuleViolation>,
) -> Result<(), RuleViolation> {
    match keys.split_first() {
        None => check(here),
        Some((key, below)) => {
            let there = here.key(key);
            check_key(key, &there)?;
            at_path(below, &there, check)
        }
    }
}

/// Keys and depth of a path that something is to be written to.
pub fn check_path(path: &Path, kind: SectionKind) -> Result<(), RuleViolation> {
    let depth = path.keys().len();
    at_path(path.keys(), &Trail::section(kind), &mut |here| check_depth(depth, DEPTH_MAX, here))
}

/// A whole section: an object that obeys every rule but size and number of nodes.
pub fn check_section(value: &Value, kind: SectionKind) -> Result<(), RuleViolation> {
    let here = Trail::section(kind);
    match value {
        Value::Object(_) => check_value(value, 0, &here),
        _ => Err(not_an_object(&here, value)),
    }
}

fn not_an_object(here: &Trail<'_>, value: &Value) -> RuleViolation {
    here.broken("not-an-object", format!("an object is needed here, this is {}", type_name(value)), None)
}

/// A value's type with its article, for messages.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Path operations, wherever they come from: keys, depth, strings and numbers obey the rules, a `Set` carries a leaf
/// (never null, never members), a `Replace` an object without nulls, and the section itself is not removed.
pub fn check_ops(ops: &[Op], kind: SectionKind) -> Result<(), RuleViolation> {
    if ops.len() > OPS_MAX {
        let message = format!("a change of {} operations, the limit is {OPS_MAX}", ops.len());
        return Err(Trail::section(kind).broken("operations", message, Some(OPS_MAX)));
    }
    check_ops_unbounded(ops, kind)
}

/// As [`check_ops`], for operations translated from a body whose size is bounded already.
pub(crate) fn check_ops_unbounded(ops: &[Op], kind: SectionKind) -> Result<(), RuleViolation> {
    ops.iter().try_for_each(|op| {
        let depth = op.path().keys().len();
        at_path(op.path().keys(), &Trail::section(kind), &mut |here| match op {
            Op::Remove { path } if path.is_root() => {
                Err(here.broken("not-an-object", "a section is not removed: replace it with {}".to_owned(), None))
            }
            Op::Remove { .. } => check_depth(depth, DEPTH_MAX, here),
            Op::Set { value: Value::Null, .. } => {
                Err(here.broken("null", "null is not set: remove the property".to_owned(), None))
            }
            Op::Set { value: Value::Object(members), .. } if !members.is_empty() => {
                Err(here.broken("not-a-leaf", "an object with members is not set: replace it".to_owned(), None))
            }
            Op::Set { path, value } if path.is_root() && value.as_object().is_none() => Err(not_an_object(here, value)),
            Op::Replace { value: Value::Object(members), .. } => {
                check_no_nulls(members, here)?;
                members.iter().try_for_each(|(key, value)| {
                    let there = here.key(key);
                    check_key(key, &there)?;
                    check_value(value, depth + 1, &there)
                })?;
                check_depth(depth, DEPTH_MAX, here)
            }
            Op::Replace { value, .. } => Err(not_an_object(here, value)),
            Op::Set { value, .. } => check_value(value, depth, here),
        })
    })
}

fn check_no_nulls(members: &crate::value::Members, here: &Trail<'_>) -> Result<(), RuleViolation> {
    members.iter().try_for_each(|(key, value)| match value {
        Value::Null => Err(here.key(key).broken("null", "null is not set: leave the property out".to_owned(), None)),
        Value::Object(members) => check_no_nulls(members, &here.key(key)),
        _ => Ok(()),
    })
}

/// The name of an event or a method.
pub fn check_name(name: &str, what: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Refusal::Invalid {
            message: format!(
                "a {what} name has 1 to {NAME_BYTES_MAX} bytes and no control characters, this one has {} bytes",
                name.len()
            ),
        });
    }
    Ok(())
}

/// The payload of an event or a method call, or an answer to one: any JSON value within size and nesting.
pub fn check_payload(payload: &Value, what: &'static str) -> Result<(), Refusal> {
    fn check(value: &Value, depth: usize, here: &Trail<'_>) -> Result<(), RuleViolation> {
        // An empty array or object is a level too: whoever reads the payload counts it before seeing that it is empty.
        let levels = depth + usize::from(matches!(value, Value::Array(_) | Value::Object(_)));
        check_depth(levels, NESTING_MAX, here)?;
        match value {
            Value::Number(number) => check_number(*number, here),
            Value::Array(items) => {
                items.iter().enumerate().try_for_each(|(index, item)| check(item, depth + 1, &here.index(index)))
            }
            Value::Object(members) => {
                members.iter().try_for_each(|(key, member)| check(member, depth + 1, &here.key(key)))
            }
            _ => Ok(()),
        }
    }
    check(payload, 0, &Trail { before: None, step: Step::Key("payload") })?;
    let size_bytes = compact_len(payload);
    if size_bytes > PAYLOAD_BYTES_MAX {
        return Err(Refusal::TooLarge {
            what: format!("the {what}'s payload"),
            pointer: "/payload".to_owned(),
            size_bytes: size_bytes as u64,
            limit_bytes: PAYLOAD_BYTES_MAX as u64,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::parse;

    fn violation(text: &str) -> (String, String, Option<u64>) {
        let value = parse(text.as_bytes(), "test").unwrap();
        let broken = check_section(&value, SectionKind::Desired).unwrap_err();
        (broken.code, broken.pointer, broken.limit)
    }

    #[test]
    fn each_broken_rule_is_named_with_its_place_and_limit() {
        assert_eq!(violation("[1]"), ("not-an-object".into(), "/desired".into(), None));
        for key in ["a.b", "a$", "a b", "a\\u0007", "a\\u0085"] {
            assert_eq!(violation(&format!(r#"{{"x": {{"{key}": 1}}}}"#)).0, "key", "{key}");
        }
        assert_eq!(violation(r#"{"x": {"a/b.": 1}}"#).1, "/desired/x/a~1b.");
        let key = "k".repeat(KEY_BYTES_MAX + 1);
        assert_eq!(violation(&format!(r#"{{"{key}": 1}}"#)).2, Some(1024));
        let text = "s".repeat(STRING_BYTES_MAX + 1);
        assert_eq!(
            violation(&format!(r#"{{"a": [0, "{text}"]}}"#)),
            ("string-length".into(), "/desired/a/1".into(), Some(4096))
        );
    }

    #[test]
    fn depth_ten_is_fine_and_eleven_is_not_in_objects_arrays_and_paths() {
        let nested = |depth: usize| format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert!(check_section(&parse(nested(10).as_bytes(), "x").unwrap(), SectionKind::Tags).is_ok());
        assert_eq!(violation(&nested(11)).0, "depth");
        assert_eq!(violation(&format!(r#"{{"a":{}1{}}}"#, "[".repeat(10), "]".repeat(10))).0, "depth");
        let set = |keys: usize, value: Value| [Op::Set { path: Path::from_keys(vec!["a"; keys]), value }];
        assert!(check_ops(&set(10, 1.into()), SectionKind::Reported).is_ok());
        assert!(check_ops(&set(11, 1.into()), SectionKind::Reported).is_err());
        assert!(check_ops(&set(10, Value::Array(vec![1.into()])), SectionKind::Reported).is_err());
        assert!(check_ops(&set(10, Value::Array(vec![])), SectionKind::Reported).is_ok());
    }

    #[test]
    fn operations_that_say_what_they_must_not_are_refused() {
        let path = || Path::from_keys(["a"]);
        let object = parse(br#"{"b": 1}"#, "x").unwrap();
        let code = |op: Op| check_ops(&[op], SectionKind::Reported).map_err(|v| v.code);
        assert_eq!(code(Op::Set { path: path(), value: Value::Null }), Err("null".into()));
        assert_eq!(code(Op::Set { path: path(), value: object.clone() }), Err("not-a-leaf".into()));
        assert_eq!(code(Op::Set { path: Path::root(), value: 1.into() }), Err("not-an-object".into()));
        assert_eq!(code(Op::Replace { path: path(), value: 1.into() }), Err("not-an-object".into()));
        assert_eq!(code(Op::Remove { path: Path::root() }), Err("not-an-object".into()));
        assert_eq!(code(Op::Remove { path: Path::from_keys(["$version"]) }), Err("key".into()));
        let with_null = parse(br#"{"b": {"c": null}}"#, "x").unwrap();
        assert_eq!(code(Op::Replace { path: path(), value: with_null }), Err("null".into()));
        let in_array = parse(br#"[{"c": null}, null]"#, "x").unwrap();
        assert_eq!(code(Op::Set { path: path(), value: in_array }), Ok(()));
        assert_eq!(code(Op::Replace { path: Path::root(), value: object }), Ok(()));
        assert_eq!(code(Op::Set { path: path(), value: f64::NAN.into() }), Err("number".into()));
        assert_eq!(code(Op::Set { path: path(), value: i64::MAX.into() }), Err("integer-range".into()));
        let many = vec![Op::Remove { path: path() }; OPS_MAX + 1];
        assert_eq!(check_ops(&many, SectionKind::Reported).unwrap_err().code, "operations");
    }

    #[test]
    fn payloads_and_names_have_bounds() {
        assert!(check_payload(&Value::String("x".repeat(PAYLOAD_BYTES_MAX).into()), "event").is_err());
        assert!(check_payload(&Value::Null, "event").is_ok());
        let deep = (0..=NESTING_MAX).fold(Value::Null, |inner, _| Value::Array(vec![inner]));
        assert!(check_payload(&deep, "event").is_err());
        let nested = |levels: usize| (1..levels).fold(Value::Array(Vec::new()), |inner, _| Value::Array(vec![inner]));
        assert!(check_payload(&nested(NESTING_MAX), "event").is_ok());
        assert!(check_payload(&nested(NESTING_MAX + 1), "event").is_err());
        assert!(check_name("", "event").is_err());
        assert!(check_name(&"n".repeat(NAME_BYTES_MAX + 1), "event").is_err());
        assert!(check_name("reboot", "method").is_ok());
    }
}
