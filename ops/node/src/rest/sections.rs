//! `/api/v1/twins/{id}/{tags|desired|reported}[/json/pointer]`.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use twin_core::command::{ChangeKind, Command, SectionChange};
use twin_core::document::TwinDocument;
use twin_core::path::Path;
use twin_core::value::Value;

use super::Rest;
use super::body::{Accepts, read_json, without_reserved};
use super::conditional::precondition;
use super::document::{TwinBody, answer_read};
use super::problem::Problem;
use super::query::Query;
use super::section_schema::ValueInput;
use super::segments::{section_name, section_path, twin_id};
use super::steer::{Steering, steer};
use super::twins::document_of;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    Tags,
    Desired,
    Reported,
}

impl Section {
    fn of(request: &HttpRequest) -> Result<Self, Problem> {
        // Percent-encoded letters would have been routed here, too.
        match super::segments::percent_decode(section_name(request))?.as_str() {
            "tags" => Ok(Self::Tags),
            "desired" => Ok(Self::Desired),
            "reported" => Ok(Self::Reported),
            other => Err(Problem::internal(format!("a route leads to the section {other:?}, which does not exist"))),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Tags => "tags",
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }

    const fn value(self, document: &TwinDocument) -> &Value {
        match self {
            Self::Tags => &document.tags,
            Self::Desired => &document.desired,
            Self::Reported => &document.reported,
        }
    }
}

/// The property at `path`. Into arrays, too, although changes take an array whole.
fn find<'a>(section: &'a Value, path: &Path) -> Option<&'a Value> {
    path.keys().iter().enumerate().try_fold(section, |value, (depth, key)| match value {
        // `$version` and `$metadata` are not properties.
        Value::Object(_) if depth == 0 && key.starts_with('$') => None,
        Value::Object(members) => members.get(key),
        Value::Array(items) => {
            let canonical = &**key == "0" || (!key.starts_with('0') && key.bytes().all(|b| b.is_ascii_digit()));
            key.parse::<usize>().ok().filter(|_| canonical).and_then(|at| items.get(at))
        }
        _ => None,
    })
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}/{section}", tag = "sections", operation_id = "get",
    summary = "The section, or the property in it",
    responses(
        (status = 200, description = "The value, with `$version` and `$metadata` if it is the whole of desired or reported", body = serde_json::Value),
        (status = 304, description = "As the caller has it (`If-None-Match`)"),
        (status = 404, description = "There is no such twin, or nothing at the pointer"),
        (status = 412, description = "`If-Match` does not hold"),
    ),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let (twin, section, path) = (twin_id(&request)?, Section::of(&request)?, section_path(&request)?);
    let (document, _) = document_of(&rest, &twin, Command::Read, 0).await?;
    let Some(value) = find(section.value(&document), &path) else {
        let pointer = format!("/{}{path}", section.name());
        return Err(twin_core::refusal::Refusal::PathNotFound { pointer }.into());
    };
    answer_read(&request, &document, value)
}

#[utoipa::path(
    put, path = "/api/v1/twins/{id}/{section}", tag = "sections", operation_id = "put",
    summary = "Replaces the section, or the property in it",
    request_body(content = ValueInput, content_type = "application/json"),
    responses(
        (status = 200, description = "The new twin", body = TwinBody<'_>),
        (status = 404, description = "There is no such twin"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn put(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    change(request, Some((payload, Accepts::Json)), rest, ChangeKind::Replace).await
}

#[utoipa::path(
    patch, path = "/api/v1/twins/{id}/{section}", tag = "sections", operation_id = "patch",
    summary = "Changes the section, or the property in it, by an RFC 7396 merge patch",
    request_body(content((ValueInput = "application/json"), (ValueInput = "application/merge-patch+json"))),
    responses(
        (status = 200, description = "The new twin", body = TwinBody<'_>),
        (status = 404, description = "There is no such twin"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn patch(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    change(request, Some((payload, Accepts::MergePatch)), rest, ChangeKind::Merge).await
}

#[utoipa::path(
    delete, path = "/api/v1/twins/{id}/{section}", tag = "sections", operation_id = "delete",
    summary = "Empties the section, or removes the property from it",
    responses(
        (status = 200, description = "The new twin", body = TwinBody<'_>),
        (status = 404, description = "There is no such twin, or nothing at the pointer"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    change(request, None, rest, |_| ChangeKind::Remove).await
}

async fn change(
    request: HttpRequest,
    body: Option<(Payload, Accepts)>,
    rest: Data<Rest>,
    kind: impl FnOnce(Value) -> ChangeKind,
) -> Result<HttpResponse, Problem> {
    let how = Steering::read(&request)?;
    let (twin, section, at) = (twin_id(&request)?, Section::of(&request)?, section_path(&request)?);
    let precondition = precondition(&request)?;
    let (value, bytes) = match body {
        None => (Value::Null, 0),
        Some((payload, accepts)) => {
            let here = format!("/{}{at}", section.name());
            let body = read_json(&request, payload, accepts).await.map_err(|problem| problem.below(&here))?;
            (without_reserved(body.value), body.bytes)
        }
    };
    let change = Some(SectionChange { at, kind: kind(value) });
    let (tags, desired) = match section {
        Section::Tags => (change, None),
        Section::Desired => (None, change),
        Section::Reported => return Err(Problem::internal("a route writes to reported, which only devices may")),
    };
    let command = Command::Steer { tags, desired, precondition };
    steer(&rest, &twin, command, bytes, how).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_properties_and_array_elements_but_no_metadata() {
        let section = twin_core::json::parse(br#"{"a": {"b": [10, {"c": 1}]}, "$version": 3}"#, "x").unwrap();
        let at = |pointer: &str| find(&section, &Path::from_pointer(pointer).unwrap()).cloned();
        assert_eq!(at(""), Some(section.clone()));
        assert_eq!(at("/a/b/0"), Some(Value::from(10)));
        assert_eq!(at("/a/b/1/c"), Some(Value::from(1)));
        for nothing in ["/a/b/2", "/a/b/00", "/a/b/-", "/a/b/+1", "/a/b/0/x", "/x", "/$version"] {
            assert_eq!(at(nothing), None, "{nothing}");
        }
    }
}
