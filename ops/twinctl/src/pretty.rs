//! JSON for people: the server's own text, indented. Member order and the spelling of numbers stay as they came.

use std::fmt::Write as _;

const INDENT: &str = "  ";

/// Indents valid JSON text. Valid JSON has most control characters escaped in its strings; U+007F to U+009F need not
/// be, and are escaped here because a terminal may obey them.
pub(crate) fn indent(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    let mut just_opened = false;
    for c in json.chars() {
        if in_string {
            if c.is_control() {
                // Writing to a string does not fail.
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            } else {
                text.push(c);
            }
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        if matches!(c, ' ' | '\t' | '\r' | '\n') {
            continue;
        }
        let closes = matches!(c, '}' | ']');
        if closes {
            depth = depth.saturating_sub(1);
        }
        if closes != just_opened {
            new_line(&mut text, depth);
        }
        text.push(c);
        just_opened = matches!(c, '{' | '[');
        match c {
            '{' | '[' => depth += 1,
            ',' => new_line(&mut text, depth),
            ':' => text.push(' '),
            '"' => in_string = true,
            _ => {}
        }
    }
    text
}

fn new_line(text: &mut String, depth: usize) {
    text.push('\n');
    for _ in 0..depth {
        text.push_str(INDENT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_numbers_and_strings_stay_as_they_came() {
        assert_eq!(
            indent(r#"{"z":1.0,"a":{"b":[1,{"c":"x{,:\"\\"}]},"e":{},"f":[ ]}"#),
            "{\n  \"z\": 1.0,\n  \"a\": {\n    \"b\": [\n      1,\n      {\n        \"c\": \"x{,:\\\"\\\\\"\n      }\n    ]\n  \
             },\n  \"e\": {},\n  \"f\": []\n}"
        );
        assert_eq!(indent("3.0"), "3.0");
    }

    #[test]
    fn a_string_cannot_steer_the_terminal() {
        assert_eq!(indent("[\"\u{9b}2J\"]"), "[\n  \"\\u009b2J\"\n]");
    }
}
