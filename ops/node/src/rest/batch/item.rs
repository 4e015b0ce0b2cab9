//! One line of a batch, read.

use twin_core::command::{ChangeKind, Command, SectionChange};
use twin_core::ids::TwinId;
use twin_core::json;
use twin_core::limits::TWIN_ID_BYTES_MAX;
use twin_core::path::Path;
use twin_core::value::Value;

use super::super::body::{malformed, members, without_reserved};
use super::super::conditional::precondition_of_text;
use super::super::once::{key_of_text, once};
use super::super::problem::Problem;

/// What a line asks for.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) twin: TwinId,
    pub(super) command: Command,
}

/// A line that asks for nothing that can be done.
#[derive(Debug)]
pub(super) struct BadItem {
    /// What stood as `id`, if it can be told.
    pub(super) id: Option<Box<str>>,
    pub(super) problem: Problem,
}

/// Does the line have nothing to say?
pub(super) fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

/// Reads a line.
pub(super) fn parse(line: &[u8]) -> Result<Item, BadItem> {
    let value = json::parse(line, "the line").map_err(|error| BadItem { id: None, problem: malformed(&error) })?;
    let id = value.as_object().and_then(|members| members.get("id")).and_then(Value::as_str);
    let twin = id.map(TwinId::new);
    // An id of any length is not repeated.
    let shown = id.filter(|id| id.len() <= TWIN_ID_BYTES_MAX).map(Box::from);
    let bad = |problem| BadItem { id: shown, problem };
    let mut given = match members(value, &["id", "desired", "tags", "ifMatch", "idempotencyKey"], "an item") {
        Ok(given) => given,
        Err(problem) => return Err(bad(problem)),
    };
    let twin = match (twin, given.contains_key("id")) {
        (Some(Ok(twin)), _) => twin,
        (Some(Err(error)), _) => return Err(bad(Problem::bad_request("bad-id", error.to_string()).at("/id"))),
        (None, true) => return Err(bad(Problem::rule("not-a-string", "/id", "id is the id of a twin, as a string"))),
        (None, false) => return Err(bad(Problem::rule("missing-member", "/id", "an item names its twin as id"))),
    };
    let precondition = match given.remove("ifMatch") {
        None | Some(Value::Null) => Ok(twin_core::command::Precondition::None),
        Some(Value::String(text)) => precondition_of_text(&text),
        Some(_) => Err(Problem::rule("not-a-string", "", "ifMatch is an etag, as a string")),
    };
    let precondition = match precondition {
        Ok(precondition) => precondition,
        Err(problem) => return Err(bad(problem.at("/ifMatch"))),
    };
    let key = match given.remove("idempotencyKey") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => key_of_text(&text).map(Some),
        Some(_) => Err(Problem::rule("not-a-string", "", "idempotencyKey is a key, as a string")),
    };
    let key = match key {
        Ok(key) => key,
        Err(problem) => return Err(bad(problem.at("/idempotencyKey"))),
    };
    let mut change = |name: &str| {
        given.remove(name).map(|value| SectionChange {
            at: Path::root(),
            // A merge patch removes by null; a section that is removed is empty.
            kind: if value == Value::Null { ChangeKind::Remove } else { ChangeKind::Merge(without_reserved(value)) },
        })
    };
    let (tags, desired) = (change("tags"), change("desired"));
    Ok(Item { twin, command: once(Command::SteerBriefly { tags, desired, precondition }, key) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::command::Precondition;

    fn bad(line: &str) -> (Option<String>, u16, &'static str, Option<String>) {
        let BadItem { id, problem } = parse(line.as_bytes()).unwrap_err();
        let told = serde_json::to_value(problem.of_item()).unwrap();
        let pointer = told["pointer"].as_str().map(str::to_owned);
        (id.map(String::from), problem.response().status().as_u16(), problem.code(), pointer)
    }

    #[test]
    fn a_line_is_a_merge_patch_of_one_twin() {
        let line =
            br#" {"desired": {"a": {"b": null}, "$version": 3}, "tags": null, "id": "t", "ifMatch": "\"1-1-1\""} "#;
        let item = parse(line).unwrap();
        assert_eq!(item.twin.as_str(), "t");
        let at = Path::root;
        let patch = json::parse(br#"{"a": {"b": null}}"#, "x").unwrap();
        assert_eq!(
            item.command,
            Command::SteerBriefly {
                tags: Some(SectionChange { at: at(), kind: ChangeKind::Remove }),
                desired: Some(SectionChange { at: at(), kind: ChangeKind::Merge(patch) }),
                precondition: Precondition::AnyOf(vec!["1-1-1".into()]),
            }
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named_with_its_twin_where_that_can_be_told() {
        assert_eq!(bad("{").2, "malformed-json");
        assert_eq!(bad("[1]").1, 422);
        assert_eq!(bad("{}"), (None, 422, "document-rule", Some("/id".into())));
        assert_eq!(bad(r#"{"id": 3}"#), (None, 422, "document-rule", Some("/id".into())));
        assert_eq!(bad(r#"{"id": "a b"}"#), (Some("a b".into()), 400, "bad-id", Some("/id".into())));
        assert_eq!(bad(&format!(r#"{{"id": "{}"}}"#, "x".repeat(200))).0, None);
        assert_eq!(bad(r#"{"id": "t", "site": "x"}"#), (Some("t".into()), 422, "document-rule", Some("/site".into())));
        assert_eq!(
            bad(r#"{"id": "t", "ifMatch": "a b"}"#),
            (Some("t".into()), 400, "bad-condition", Some("/ifMatch".into()))
        );
        let key = Some("/idempotencyKey".to_owned());
        assert_eq!(
            bad(r#"{"id": "t", "idempotencyKey": ""}"#),
            (Some("t".into()), 400, "bad-idempotency-key", key.clone())
        );
        assert_eq!(bad(r#"{"id": "t", "idempotencyKey": 3}"#), (Some("t".into()), 422, "document-rule", key));
        assert_eq!(
            bad(r#"{"id": "t", "ifMatch": 3}"#),
            (Some("t".into()), 422, "document-rule", Some("/ifMatch".into()))
        );
    }

    #[test]
    fn white_space_alone_is_blank() {
        assert!(is_blank(b"") && is_blank(b" \t\r"));
        assert!(!is_blank(b"\0"));
    }
}
