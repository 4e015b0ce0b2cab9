//! `POST /api/v1/imports`: making or replacing many twins, from the lines of an export.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use twin_core::command::{Answer, Command, Precondition};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::value::{Members, Value};
use utoipa::ToSchema;

use super::super::Rest;
use super::super::body::without_reserved;
use super::super::problem::Problem;
use super::super::section_schema::SectionInput;
use super::super::segments::parse_site;
use super::super::twins::at_site;
use super::item::{bad, of_twin, parse};
use super::job::{BadItem, Item, Job};
use super::open::open;
use super::result::Steered;
use super::update::BatchResult;
use crate::limits::IMPORT_LINE_BYTES_MAX;

/// One line of an import: a twin as it shall be. What an export shows beside it is taken and ignored.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a line that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportItem {
    /// The twin's id.
    #[schema(min_length = 1, max_length = 128, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9\-._%#*?!(),:=@$'+]+$")]
    id: String,
    /// Its site, which must exist; absent: as it is, and `default` for a new twin.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$")]
    site: Option<String>,
    /// Absent: empty.
    #[schema(value_type = Option<SectionInput>)]
    tags: (),
    /// Absent: empty.
    #[schema(value_type = Option<SectionInput>)]
    desired: (),
    /// Ignored: only devices report.
    #[schema(value_type = Option<serde_json::Value>)]
    reported: (),
    /// Ignored.
    version: Option<u64>,
    /// Ignored.
    etag: Option<String>,
}

const MEMBERS: [&str; 7] = ["id", "site", "tags", "desired", "reported", "version", "etag"];

#[utoipa::path(
    post, path = "/api/v1/imports", tag = "bulk", operation_id = "import",
    summary = "Makes or replaces any number of twins from an export's lines, answered line by line",
    description = "The body is NDJSON: an export as it came, or lines of your own. Each line does what `PUT /api/v1/twins/{id}` does: it \
                   registers the twin, or replaces its tags and desired whole. `reported` is never imported: only devices report. \
                   The answer is NDJSON: exactly one result a line for each item, in their order, while the request is still being \
                   read; the end mark of an export is no item. To go on after a broken connection, send again from the first item \
                   whose result did not come: what was done already is replaced by the same, which changes nothing, not even a \
                   version. (Where others steer the same twins at the same time, their change may be replaced once more.) Sites are \
                   not made: an item of a site that does not exist is refused. Read the answer while you send: where results are not \
                   read no more items are taken, and after 30 s the connection is closed. Up to 4,096 items of together 2 MiB may be \
                   sent before anything is read.",
    request_body(content = ImportItem, content_type = "application/x-ndjson", description = "One such object a line, of at most 512 KiB"),
    responses((status = 200, description = "One such object a line; status 201: made", body = BatchResult<'_>, content_type = "application/x-ndjson")),
)]
pub(crate) async fn import(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let counts = rest.metrics.batches.imports.clone();
    open(&request, payload, &rest, Import, counts)
}

struct Import;

impl Job for Import {
    type Outcome = Steered;

    const LINE_BYTES_MAX: usize = IMPORT_LINE_BYTES_MAX;
    const OUTCOME_BYTES_MAX: usize = 0;

    fn read(&self, line: &[u8]) -> Result<Option<Item>, BadItem> {
        let value = parse(line)?;
        if let Some(end) = value.as_object().and_then(|members| members.get("end")) {
            return end_mark(end);
        }
        let (twin, given) = of_twin(value, &MEMBERS, "an item")?;
        let command = put(given).map_err(|problem| bad(&twin, problem))?;
        Ok(Some(Item { twin, command }))
    }

    fn settle(&self, answer: Answer) -> Result<Steered, Problem> {
        Steered::of(answer)
    }

    fn refused(&self, refusal: Refusal) -> Problem {
        at_site(refusal.into())
    }

    fn write(&self, twin: &TwinId, outcome: &Steered, out: &mut Vec<u8>) -> Result<(), Problem> {
        outcome.write(twin, out)
    }
}

fn put(mut given: Members) -> Result<Command, Problem> {
    let site = match given.remove("site") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(parse_site(&text).map_err(|problem| problem.at("/site"))?),
        Some(_) => return Err(Problem::rule("not-a-string", "/site", "site is the id of a site, as a string")),
    };
    let mut section = |name: &str| match given.remove(name) {
        None | Some(Value::Null) => Value::empty_object(),
        Some(value) => without_reserved(value),
    };
    let (tags, desired) = (section("tags"), section("desired"));
    Ok(Command::PutBriefly { site, tags, desired, precondition: Precondition::None })
}

/// The last line of an export.
fn end_mark(end: &Value) -> Result<Option<Item>, BadItem> {
    if *end == Value::from(true) {
        return Ok(None);
    }
    let detail = "the export broke off here and is not whole: export again from its last twin on";
    Err(BadItem { id: None, problem: Problem::rule("incomplete-export", "/end", detail) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::ids::SiteId;
    use twin_core::json;

    /// Id, code and pointer.
    type Bad = (Option<String>, &'static str, Option<String>);

    fn read(line: &str) -> Result<Option<Command>, Bad> {
        let read = Import.read(line.as_bytes());
        read.map(|item| item.map(|item| item.command)).map_err(|BadItem { id, problem }| {
            let told = serde_json::to_value(problem.of_item()).unwrap();
            (id.map(String::from), problem.code(), told["pointer"].as_str().map(str::to_owned))
        })
    }

    #[test]
    fn a_line_is_a_twin_as_it_shall_be() {
        let json = |text: &str| json::parse(text.as_bytes(), "x").unwrap();
        let put = |site: Option<&str>, tags, desired| Command::PutBriefly {
            site: site.map(|site| SiteId::new(site).unwrap()),
            tags: json(tags),
            desired: json(desired),
            precondition: Precondition::None,
        };
        let exported =
            r#"{"id":"t","site":"s","version":3,"etag":"1-1-1","tags":{"a":1},"desired":{"p":2},"reported":{"p":1}}"#;
        assert_eq!(read(exported), Ok(Some(put(Some("s"), r#"{"a":1}"#, r#"{"p":2}"#))));
        assert_eq!(read(r#"{"id":"t"}"#), Ok(Some(put(None, "{}", "{}"))));
        assert_eq!(read(r#"{"id":"t","tags":null,"desired":{"$version":3}}"#), Ok(Some(put(None, "{}", "{}"))));
    }

    #[test]
    fn the_end_mark_is_no_item_and_an_incomplete_export_is_told() {
        assert_eq!(read(r#"{"end":true,"twins":7}"#), Ok(None));
        assert_eq!(
            read(r#"{"end":false,"status":503,"code":"unavailable"}"#),
            Err((None, "document-rule", Some("/end".into())))
        );
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        let of_t = |code, pointer: &str| Err((Some("t".to_owned()), code, Some(pointer.to_owned())));
        assert_eq!(read(r#"{"id":"t","site":"a/b"}"#), of_t("bad-id", "/site"));
        assert_eq!(read(r#"{"id":"t","site":3}"#), of_t("document-rule", "/site"));
        assert_eq!(read(r#"{"id":"t","ifMatch":"x"}"#), of_t("document-rule", "/ifMatch"));
        assert_eq!(read(r#"{"tags":{}}"#), Err((None, "document-rule", Some("/id".into()))));
    }
}
