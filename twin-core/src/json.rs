//! JSON text in and out: strict, bounded, and without turning a number into another.

mod scan;

use std::io;

use serde::de::DeserializeSeed as _;

use crate::limits::NESTING_MAX;
use crate::value::{MEMBER_TWICE, Number, Value, ValueVisitor};

/// Why a text is not taken as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not UTF-8.
    #[error("{what} is not UTF-8: the byte at offset {at} begins no character")]
    Utf8 {
        /// What was being read.
        what: &'static str,
        /// Offset of the first wrong byte.
        at: usize,
    },
    /// Not JSON.
    #[error("{what} is not JSON: {message} at line {line}, column {column}")]
    Syntax {
        /// What was being read.
        what: &'static str,
        /// What is wrong.
        message: String,
        /// Line, from 1.
        line: usize,
        /// Column in bytes, from 1.
        column: usize,
    },
    /// Nested too deeply to be looked at.
    #[error("{what} nests deeper than {NESTING_MAX} levels at byte {at}")]
    Nesting {
        /// What was being read.
        what: &'static str,
        /// Where the bound is passed.
        at: usize,
    },
    /// An integer beyond +-2^52, which a double (and so JavaScript) cannot hold exactly.
    #[error(
        "{what} holds the integer {literal} at {pointer:?}; integers lie within +-2^52 (4503599627370496): send it as a string"
    )]
    Integer {
        /// What was being read.
        what: &'static str,
        /// The integer, shortened if it is long.
        literal: String,
        /// JSON pointer to it within the text.
        pointer: String,
    },
    /// A member comes twice in an object: which one counts is everyone's guess (RFC 8259, section 4).
    #[error("{what} has the member {pointer:?} twice: send it once")]
    Duplicate {
        /// What was being read.
        what: &'static str,
        /// JSON pointer to it within the text.
        pointer: String,
    },
    /// A number that no double can hold.
    #[error("{what} holds the number {literal} at {pointer:?}, which is beyond what a 64-bit float holds")]
    NotFinite {
        /// What was being read.
        what: &'static str,
        /// The number, shortened if it is long.
        literal: String,
        /// JSON pointer to it within the text.
        pointer: String,
    },
}

impl JsonError {
    /// Stable code for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Utf8 { .. } => "utf-8",
            Self::Syntax { .. } => "malformed-json",
            Self::Nesting { .. } => "nesting",
            Self::Integer { .. } => "integer-range",
            Self::NotFinite { .. } => "number",
            Self::Duplicate { .. } => "duplicate-member",
        }
    }

    /// JSON pointer to what is wrong, within the text, where it is a value.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Integer { pointer, .. } | Self::NotFinite { pointer, .. } | Self::Duplicate { pointer, .. } => {
                Some(pointer)
            }
            _ => None,
        }
    }

    /// The limit that was broken, if it is a number.
    pub fn limit(&self) -> Option<u64> {
        match self {
            Self::Nesting { .. } => Some(NESTING_MAX as u64),
            Self::Integer { .. } => Some(crate::limits::INTEGER_MAX.unsigned_abs()),
            _ => None,
        }
    }
}

/// Parses one JSON text; `what` names it in errors. No object may have two members of one name.
pub fn parse(bytes: &[u8], what: &'static str) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(bytes).map_err(|error| JsonError::Utf8 { what, at: error.valid_up_to() })?;
    // Before the parser recurses, and without recursion.
    if let Some(at) = scan::nesting_beyond(text.as_bytes(), NESTING_MAX) {
        return Err(JsonError::Nesting { what, at });
    }
    let mut parser = serde_json::Deserializer::from_str(text);
    match ValueVisitor::STRICT.deserialize(&mut parser).and_then(|value| parser.end().map(|()| value)) {
        Ok(value) if scan::numbers_are_plain(text.as_bytes()) => Ok(value),
        Ok(value) => match scan::first_bad_number(text) {
            Some(bad) => Err(bad.into_error(what)),
            None => Ok(value),
        },
        Err(error) => {
            let message = strip_position(&error.to_string());
            let twice = if message == MEMBER_TWICE { scan::first_duplicate(text) } else { None };
            let (line, column) = (error.line(), error.column());
            Err(match (twice, scan::first_bad_number(text)) {
                (Some(pointer), _) => JsonError::Duplicate { what, pointer },
                (None, Some(bad)) => bad.into_error(what),
                (None, None) => JsonError::Syntax { what, message, line, column },
            })
        }
    }
}

fn strip_position(message: &str) -> String {
    message.split(" at line ").next().unwrap_or(message).to_owned()
}

/// Compact JSON text.
pub fn to_compact(value: &Value) -> String {
    let mut text = String::with_capacity(compact_len(value));
    write_compact(value, &mut text);
    text
}

fn write_compact(value: &Value, text: &mut String) {
    match serde_json::to_string(value) {
        Ok(json) => text.push_str(&json),
        // Keys are strings and writing to memory does not fail, so serde_json has nothing left to refuse.
        Err(error) => unreachable!("a value always has a JSON form: {error}"),
    }
}

/// Length of [`to_compact`]'s text in bytes, without making it.
pub fn compact_len(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(Number::Integer(integer)) => integer_len(*integer),
        Value::Number(Number::Float(float)) => float_len(*float),
        Value::String(text) => quoted_len(text),
        Value::Array(items) => 2 + items.iter().map(compact_len).sum::<usize>() + items.len().saturating_sub(1),
        Value::Object(members) => {
            let all: usize = members.iter().map(|(key, value)| quoted_len(key) + 1 + compact_len(value)).sum();
            2 + all + members.len().saturating_sub(1)
        }
    }
}

/// A cheap bound of [`compact_len`]: writing a float only to count its characters costs more than all the rest.
pub fn compact_len_at_most(value: &Value) -> usize {
    match value {
        // A sign, 17 digits, a point, and an exponent of up to 5 characters.
        Value::Number(Number::Float(_)) => 24,
        Value::Array(items) => 2 + items.iter().map(|item| compact_len_at_most(item) + 1).sum::<usize>(),
        Value::Object(members) => {
            2 + members.iter().map(|(key, value)| quoted_len(key) + 2 + compact_len_at_most(value)).sum::<usize>()
        }
        other => compact_len(other),
    }
}

/// Length of a text as a JSON string, quotes and escapes included.
pub fn quoted_len(text: &str) -> usize {
    let escapes: usize = text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | 0x08 | 0x09 | 0x0A | 0x0C | 0x0D => 1,
            0x00..=0x1F => 5,
            _ => 0,
        })
        .sum();
    2 + text.len() + escapes
}

fn integer_len(integer: i64) -> usize {
    let digits = integer.unsigned_abs().checked_ilog10().unwrap_or(0) as usize + 1;
    digits + usize::from(integer < 0)
}

fn float_len(float: f64) -> usize {
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, &float) {
        Ok(()) => count.0,
        Err(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &[u8]) -> &'static str {
        parse(text, "the body").unwrap_err().code()
    }

    #[test]
    fn what_is_not_utf8_and_what_is_not_json_are_told_apart_with_their_place() {
        assert_eq!(parse(b"{\"a\": \"\xff\"}", "the body"), Err(JsonError::Utf8 { what: "the body", at: 7 }));
        let error = parse(b"{\n  \"a\" 1}", "the body").unwrap_err();
        assert!(matches!(error, JsonError::Syntax { line: 2, column: 7, .. }), "{error:?}");
        for text in
            ["", "{", "{\"a\":1,}", "[1 2]", "nul", "01", "\"\u{1}\"", "{} {}", "-", "+1", "1.", ".5", "NaN", "{'a':1}"]
        {
            assert_eq!(code(text.as_bytes()), "malformed-json", "{text}");
        }
        assert_eq!(code(br#""\ud800""#), "malformed-json");
    }

    #[test]
    fn an_integer_beyond_the_bound_is_refused_and_never_becomes_a_float() {
        for literal in [
            "4503599627370497",
            "-4503599627370497",
            "9223372036854775808",
            "18446744073709551616",
            "99999999999999999999",
        ] {
            let error = parse(format!(r#"{{"a": [0, {{"x/y": {literal}}}]}}"#).as_bytes(), "the body").unwrap_err();
            assert_eq!(error.code(), "integer-range", "{literal}");
            assert_eq!(error.pointer(), Some("/a/1/x~1y"));
            assert!(error.to_string().contains(literal));
        }
        assert_eq!(parse(b"4503599627370496", "x").unwrap(), Value::from(1i64 << 52));
        assert_eq!(parse(b"-4503599627370496", "x").unwrap(), Value::from(-(1i64 << 52)));
        let long = "9".repeat(5000);
        assert!(parse(long.as_bytes(), "x").unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn a_large_float_is_fine_and_one_beyond_a_double_is_not() {
        assert_eq!(parse(b"1e300", "x").unwrap(), Value::from(1e300));
        assert_eq!(parse(b"0.12345678901234567890", "x").unwrap(), Value::from(0.123_456_789_012_345_68));
        assert_eq!(code(b"[1, 1e400]"), "number");
        assert_eq!(code(b"{\"a\": -1e400}"), "number");
        assert_eq!(parse(br#""99999999999999999999""#, "x").unwrap(), Value::from("99999999999999999999"));
        assert_eq!(
            parse(br#"{"99999999999999999999": 1}"#, "x").unwrap().as_object().map(std::collections::BTreeMap::len),
            Some(1)
        );
    }

    #[test]
    fn a_member_that_comes_twice_is_refused_with_its_pointer_however_it_is_written() {
        for (text, pointer) in [
            (r#"{"a": 1, "a": 1}"#, "/a"),
            (r#"{"x": [{"b": {"k": 1}}, {"b": {"k": 1, "m": {"k": 2}, "k": 3}}], "b": 1}"#, "/x/1/b/k"),
            (r#"{"a/b": 1, "a\/b": 2}"#, "/a~1b"),
            (r#"{"\u0061": 1, "b": "\"a\": 1", "a": 99999999999999999999}"#, "/a"),
            (r#"{"": {}, "": {}}"#, "/"),
        ] {
            let error = parse(text.as_bytes(), "the body").unwrap_err();
            assert_eq!((error.code(), error.pointer()), ("duplicate-member", Some(pointer)), "{text}");
        }
        assert!(parse(br#"{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]}"#, "x").is_ok());
    }

    #[test]
    fn nesting_is_bounded_before_anything_recurses() {
        let deep = "[".repeat(1_000_000);
        assert_eq!(code(deep.as_bytes()), "nesting");
        let fits = format!("{}{}", "[".repeat(NESTING_MAX), "]".repeat(NESTING_MAX));
        assert!(parse(fits.as_bytes(), "x").is_ok());
        assert!(parse(br#""[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[""#, "x").is_ok());
    }
}
