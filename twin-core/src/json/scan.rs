//! What serde_json does not tell: how deep a text nests before anyone recurses into it, and which of its numbers would
//! silently become another (an integer beyond `i64` becomes a float).

use std::collections::HashSet;

use super::JsonError;
use crate::limits::INTEGER_MAX;

/// Offset at which nesting passes `max`, if it does.
pub(super) fn nesting_beyond(text: &[u8], max: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return Some(at);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Offset of the quote that closes the string opened at `open`, or the end of the text.
fn string_end(text: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Has no run of 16 digits outside strings, hence no integer near 2^52, and no exponent? Says yes to nearly every text
/// in one quick pass; a no means that [`first_bad_number`] has to look.
pub(super) fn numbers_are_plain(text: &[u8]) -> bool {
    let mut digits = 0;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => {
                digits = 0;
                at = string_end(text, at);
            }
            b'0'..=b'9' => {
                digits += 1;
                if digits >= 16 {
                    return false;
                }
            }
            _ => digits = 0,
        }
        at += 1;
    }
    true
}

pub(super) struct BadNumber {
    literal: String,
    pointer: String,
    integer: bool,
}

impl BadNumber {
    pub(super) fn into_error(self, what: &'static str) -> JsonError {
        let Self { mut literal, pointer, integer } = self;
        if literal.len() > 40 {
            literal.truncate(37);
            literal.push_str("...");
        }
        if integer {
            JsonError::Integer { what, literal, pointer }
        } else {
            JsonError::NotFinite { what, literal, pointer }
        }
    }
}

enum Level<'a> {
    Array(usize),
    Object(&'a str),
}

/// The first number literal that a document can't hold, with its place. Meant for text that is well-formed up to it.
pub(super) fn first_bad_number(text: &str) -> Option<BadNumber> {
    let bytes = text.as_bytes();
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'[' => levels.push(Level::Array(0)),
            b'{' => levels.push(Level::Object("")),
            b']' | b'}' => {
                levels.pop();
            }
            b',' => {
                if let Some(Level::Array(index)) = levels.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                let next = bytes.iter().skip(end + 1).find(|byte| !byte.is_ascii_whitespace());
                if let (Some(b':'), Some(Level::Object(key))) = (next, levels.last_mut()) {
                    *key = text.get(at..=end).unwrap_or_default();
                }
                at = end;
            }
            b'-' | b'0'..=b'9' => {
                let end = bytes[at..]
                    .iter()
                    .position(|byte| !matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E'))
                    .map_or(bytes.len(), |length| at + length);
                let literal = &text[at..end];
                let integer = literal.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
                let holds = if integer {
                    // Digits only, so what does not parse is too large (or "-", which is the parser's to refuse).
                    literal == "-" || literal.parse::<i64>().is_ok_and(|i| (-INTEGER_MAX..=INTEGER_MAX).contains(&i))
                } else {
                    literal.parse::<f64>().map_or(true, f64::is_finite)
                };
                if !holds {
                    return Some(BadNumber { literal: literal.to_owned(), pointer: pointer(&levels), integer });
                }
                at = end - 1;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// Pointer to the first member that its object has already. Meant for text that is well-formed up to it.
pub(super) fn first_duplicate(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut levels: Vec<Level<'_>> = Vec::new();
    // Of each level; an array's stay empty.
    let mut seen: Vec<HashSet<String>> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => {
                levels.push(if byte == b'[' { Level::Array(0) } else { Level::Object("") });
                seen.push(HashSet::new());
            }
            b']' | b'}' => {
                levels.pop();
                seen.pop();
            }
            b',' => {
                if let Some(Level::Array(index)) = levels.last_mut() {
                    *index += 1;
                }
            }
            b'"' => {
                let end = string_end(bytes, at);
                let next = bytes.iter().skip(end + 1).find(|byte| !byte.is_ascii_whitespace());
                if let (Some(b':'), Some(Level::Object(key))) = (next, levels.last_mut()) {
                    *key = text.get(at..=end).unwrap_or_default();
                    let name: String = serde_json::from_str(key).unwrap_or_default();
                    if seen.last_mut().is_some_and(|seen| !seen.insert(name)) {
                        return Some(pointer(&levels));
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn pointer(levels: &[Level<'_>]) -> String {
    levels
        .iter()
        .map(|level| match level {
            Level::Array(index) => format!("/{index}"),
            Level::Object(quoted) => {
                let key: String = serde_json::from_str(quoted).unwrap_or_default();
                format!("/{}", key.replace('~', "~0").replace('/', "~1"))
            }
        })
        .collect()
}
