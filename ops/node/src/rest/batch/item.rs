//! What the lines of all batches share: an object that names its twin.

use twin_core::ids::TwinId;
use twin_core::json;
use twin_core::limits::TWIN_ID_BYTES_MAX;
use twin_core::value::{Members, Value};

use super::super::body::{malformed, members};
use super::super::problem::Problem;
use super::job::BadItem;

/// Does the line have nothing to say?
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// Reads a line as JSON.
pub(super) fn parse(line: &[u8]) -> Result<Value, BadItem> {
    json::parse(line, "the line").map_err(|error| BadItem { id: None, problem: malformed(&error) })
}

/// The twin that an item names, and the item's other members, of which there may be those `known` (`id` among them) and no others.
pub(super) fn of_twin(value: Value, known: &[&str], what: &str) -> Result<(TwinId, Members), BadItem> {
    let id = value.as_object().and_then(|members| members.get("id")).and_then(Value::as_str);
    let twin = id.map(TwinId::new);
    // An id of any length is not repeated.
    let shown = id.filter(|id| id.len() <= TWIN_ID_BYTES_MAX).map(Box::from);
    let bad = |problem| BadItem { id: shown, problem };
    let given = match members(value, known, what) {
        Ok(given) => given,
        Err(problem) => return Err(bad(problem)),
    };
    match (twin, given.contains_key("id")) {
        (Some(Ok(twin)), _) => Ok((twin, given)),
        (Some(Err(error)), _) => Err(bad(Problem::bad_request("bad-id", error.to_string()).at("/id"))),
        (None, true) => Err(bad(Problem::rule("not-a-string", "/id", "id is the id of a twin, as a string"))),
        (None, false) => Err(bad(Problem::rule("missing-member", "/id", format!("{what} names its twin as id")))),
    }
}

/// A problem of an item whose twin is known.
pub(super) fn bad(twin: &TwinId, problem: Problem) -> BadItem {
    BadItem { id: Some(twin.as_str().into()), problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_alone_is_blank() {
        assert!(is_blank(b"") && is_blank(b" \t\r"));
        assert!(!is_blank(b"\0"));
    }
}
