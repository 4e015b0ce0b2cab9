//! `POST /api/v1/twins:batchUpdate`: steering many twins.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange};
use twin_core::ids::TwinId;
use twin_core::path::Path;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::super::Rest;
use super::super::body::without_reserved;
use super::super::conditional::precondition_of_text;
use super::super::once::{key_of_text, once};
use super::super::problem::Problem;
use super::super::section_schema::SectionInput;
use super::item::{bad, of_twin, parse};
use super::job::{BadItem, Item, Job};
use super::open::open;
use super::result::{BatchDone, BatchRefused, Steered};
use crate::limits::BATCH_LINE_BYTES_MAX;

/// One line of a batch: an RFC 7396 merge patch of the steering part of one twin.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a line that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BatchItem {
    /// The twin's id.
    #[schema(min_length = 1, max_length = 128, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9\-._%#*?!(),:=@$'+]+$")]
    id: String,
    /// Merged into desired; null empties it.
    #[schema(value_type = Option<SectionInput>)]
    desired: (),
    /// Merged into tags; null empties them.
    #[schema(value_type = Option<SectionInput>)]
    tags: (),
    /// As the header `If-Match`: an etag, several, or `*`.
    if_match: Option<String>,
    /// As the header `Idempotency-Key` of a request for the twin: however often the item is sent, in this batch or another, it takes
    /// effect once.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[!#-\[\]-~]+$")]
    idempotency_key: Option<String>,
}

/// One line of the answer.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents what the results are")]
#[serde(untagged)]
pub(crate) enum BatchResult<'a> {
    Done(BatchDone<'a>),
    Refused(BatchRefused<'a>),
}

#[utoipa::path(
    post, path = "/api/v1/twins:batchUpdate", tag = "twins", operation_id = "batchUpdateTwins",
    summary = "Changes any number of twins, one item a line, answered line by line",
    description = "The body is NDJSON: one item a line, any number of lines, blank ones skipped. The answer is NDJSON, too: exactly \
                   one result a line for each item, in the order of the items, while the request is still being read; when as many \
                   results as items came, all is done. An item that is refused does not end the stream and changes nothing. Items of \
                   one twin take effect in their order. Read the answer while you send: where results are not read no more items are \
                   taken, and after 30 s the connection is closed. Up to 4,096 items of together 2 MiB may be sent before \
                   anything is read.",
    request_body(content = BatchItem, content_type = "application/x-ndjson", description = "One such object a line, of at most 256 KiB"),
    responses((status = 200, description = "One such object a line", body = BatchResult<'_>, content_type = "application/x-ndjson")),
)]
pub(crate) async fn update(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let counts = rest.metrics.batches.updates.clone();
    open(&request, payload, &rest, Update, counts)
}

struct Update;

impl Job for Update {
    type Outcome = Steered;

    const LINE_BYTES_MAX: usize = BATCH_LINE_BYTES_MAX;
    const OUTCOME_BYTES_MAX: usize = 0;

    fn read(&self, line: &[u8]) -> Result<Option<Item>, BadItem> {
        read(line).map(Some)
    }

    fn settle(&self, answer: Answer) -> Result<Steered, Problem> {
        Steered::of(answer)
    }

    fn write(&self, twin: &TwinId, outcome: &Steered, out: &mut Vec<u8>) -> Result<(), Problem> {
        outcome.write(twin, out)
    }
}

fn read(line: &[u8]) -> Result<Item, BadItem> {
    let (twin, mut given) = of_twin(parse(line)?, &["id", "desired", "tags", "ifMatch", "idempotencyKey"], "an item")?;
    let precondition = match given.remove("ifMatch") {
        None | Some(Value::Null) => Ok(Precondition::None),
        Some(Value::String(text)) => precondition_of_text(&text),
        Some(_) => Err(Problem::rule("not-a-string", "", "ifMatch is an etag, as a string")),
    };
    let precondition = precondition.map_err(|problem| bad(&twin, problem.at("/ifMatch")))?;
    let key = match given.remove("idempotencyKey") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => key_of_text(&text).map(Some),
        Some(_) => Err(Problem::rule("not-a-string", "", "idempotencyKey is a key, as a string")),
    };
    let key = key.map_err(|problem| bad(&twin, problem.at("/idempotencyKey")))?;
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
    use twin_core::json;

    fn bad_line(line: &str) -> (Option<String>, u16, &'static str, Option<String>) {
        let BadItem { id, problem } = read(line.as_bytes()).unwrap_err();
        let told = serde_json::to_value(problem.of_item()).unwrap();
        let pointer = told["pointer"].as_str().map(str::to_owned);
        (id.map(String::from), problem.response().status().as_u16(), problem.code(), pointer)
    }

    #[test]
    fn a_line_is_a_merge_patch_of_one_twin() {
        let line =
            br#" {"desired": {"a": {"b": null}, "$version": 3}, "tags": null, "id": "t", "ifMatch": "\"1-1-1\""} "#;
        let item = read(line).unwrap();
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
        assert_eq!(bad_line("{").2, "malformed-json");
        assert_eq!(bad_line("[1]").1, 422);
        assert_eq!(bad_line("{}"), (None, 422, "document-rule", Some("/id".into())));
        assert_eq!(bad_line(r#"{"id": 3}"#), (None, 422, "document-rule", Some("/id".into())));
        assert_eq!(bad_line(r#"{"id": "a b"}"#), (Some("a b".into()), 400, "bad-id", Some("/id".into())));
        assert_eq!(bad_line(&format!(r#"{{"id": "{}"}}"#, "x".repeat(200))).0, None);
        assert_eq!(
            bad_line(r#"{"id": "t", "site": "x"}"#),
            (Some("t".into()), 422, "document-rule", Some("/site".into()))
        );
        assert_eq!(
            bad_line(r#"{"id": "t", "ifMatch": "a b"}"#),
            (Some("t".into()), 400, "bad-condition", Some("/ifMatch".into()))
        );
        let key = Some("/idempotencyKey".to_owned());
        assert_eq!(
            bad_line(r#"{"id": "t", "idempotencyKey": ""}"#),
            (Some("t".into()), 400, "bad-idempotency-key", key.clone())
        );
        assert_eq!(bad_line(r#"{"id": "t", "idempotencyKey": 3}"#), (Some("t".into()), 422, "document-rule", key));
        assert_eq!(
            bad_line(r#"{"id": "t", "ifMatch": 3}"#),
            (Some("t".into()), 422, "document-rule", Some("/ifMatch".into()))
        );
    }
}
