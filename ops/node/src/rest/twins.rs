//! `/api/v1/twins` and `/api/v1/twins/{id}`.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::TwinQuery;
use twin_core::command::{Answer, ChangeKind, Command, SectionChange};
use twin_core::document::TwinDocument;
use twin_core::ids::TwinId;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_core::view::Audience;
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, members, read_json, without_reserved};
use super::conditional::precondition;
use super::document::{TwinBody, answer_bytes, json, render_view};
use super::once::keyless;
use super::problem::Problem;
use super::query::Query;
use super::section_schema::SectionInput;
use super::segments::{parse_site, twin_id};
use super::steer::{Steering, steer};
use crate::limits::{CURSOR_BYTES_MAX, PAGE_LIMIT_DEFAULT, PAGE_LIMIT_MAX, REQUEST_BYTES};

/// What PUT takes.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
#[schema(as = TwinPut)]
pub(crate) struct PutBody {
    /// The site that the device belongs to; `default` if a new twin names none.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9._-]+$")]
    site: Option<String>,
    /// Absent: empty.
    #[schema(value_type = Option<SectionInput>)]
    tags: (),
    /// Absent: empty.
    #[schema(value_type = Option<SectionInput>)]
    desired: (),
}

/// What PATCH takes: an RFC 7396 merge patch of the steering part.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
#[schema(as = TwinPatch)]
pub(crate) struct PatchBody {
    /// Merged into tags; null empties them.
    #[schema(value_type = Option<SectionInput>)]
    tags: (),
    /// Merged into desired; null empties it.
    #[schema(value_type = Option<SectionInput>)]
    desired: (),
}

/// One page of twins.
#[derive(Serialize, ToSchema)]
#[schema(as = TwinPage)]
pub(crate) struct PageBody<'a> {
    twins: Vec<TwinBody<'a>>,
    /// Cursor of the next page; null: this was the last.
    next: Option<String>,
}

/// Gives the command to the twin's grain; the answer is a document.
pub(crate) async fn document_of(
    rest: &Rest,
    twin: &TwinId,
    command: Command,
    body_bytes: usize,
) -> Result<(Box<TwinDocument>, bool), Problem> {
    match rest.cluster.call(twin, command, REQUEST_BYTES + body_bytes).await? {
        Answer::Document { document, created } => Ok((document, created)),
        other => Err(Problem::internal(format!("the twin answered {other:?} where a document was due"))),
    }
}

#[utoipa::path(
    get, path = "/api/v1/twins", tag = "twins", operation_id = "listTwins",
    summary = "Twins, by site and id, in pages",
    params(
        ("site" = Option<String>, Query, description = "Only twins of this site", max_length = 64, pattern = "^[A-Za-z0-9._-]*$"),
        ("limit" = Option<u64>, Query, description = "Most twins of the page; 100 unless given", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "`next` of the page before", max_length = 512),
    ),
    responses((status = 200, description = "A page", body = PageBody<'_>), (status = 404, description = "There is no such site")),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["site", "limit", "cursor"])?;
    let site = query.get("site").map(parse_site).transpose()?;
    let limit = query.number("limit", 1..=PAGE_LIMIT_MAX)?.unwrap_or(PAGE_LIMIT_DEFAULT);
    let after = query.get("cursor").map(str::to_owned);
    if after.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        let detail = format!("a cursor has at most {CURSOR_BYTES_MAX} bytes; send `next` of the page before as it was");
        return Err(Problem::bad_request("bad-cursor", detail).with_limit(CURSOR_BYTES_MAX as u64));
    }
    let page = rest.cluster.list_twins(TwinQuery { site, after, limit: limit as usize }).await.map_err(|refusal| {
        match refusal {
            // All else was checked before.
            Refusal::Invalid { message } => Problem::bad_request("bad-cursor", message),
            other => other.into(),
        }
    })?;
    let twins = page.twins.iter().map(|twin| TwinBody::new(twin, rest.cluster.is_connected(twin))).collect();
    json(StatusCode::OK, &PageBody { twins, next: page.next })
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}", tag = "twins", operation_id = "getTwin",
    summary = "The whole twin, as committed",
    responses(
        (status = 200, description = "The twin", body = TwinBody<'_>),
        (status = 304, description = "As the caller has it (`If-None-Match`)"),
        (status = 404, description = "There is no such twin"),
        (status = 412, description = "`If-Match` does not hold"),
    ),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let twin = twin_id(&request)?;
    let command = Command::View { audience: Audience::BackOffice };
    let (view, last_activity) = match rest.cluster.call(&twin, command, REQUEST_BYTES).await? {
        Answer::View { view, last_activity } => (view, last_activity),
        other => return Err(Problem::internal(format!("the twin answered {other:?} where a view was due"))),
    };
    let view = view.open()?;
    let steering = view.steering_etag();
    let is_connected = |gateway: &_| rest.cluster.is_gateway_connected(gateway);
    let bytes = render_view(&twin, &view, &steering, last_activity, is_connected)?;
    answer_bytes(&request, &steering, bytes)
}

/// The site that is wrong stands in the body.
pub(crate) fn at_site(problem: Problem) -> Problem {
    if matches!(problem.code(), "site-not-found" | "site-deleting" | "other-site") {
        problem.at("/site")
    } else {
        problem
    }
}

#[utoipa::path(
    put, path = "/api/v1/twins/{id}", tag = "twins", operation_id = "putTwin",
    summary = "Registers a twin, or replaces its tags and desired; absent sections become empty",
    request_body(content = PutBody, content_type = "application/json"),
    responses(
        (status = 200, description = "Replaced", body = TwinBody<'_>),
        (status = 201, description = "Registered", body = TwinBody<'_>),
        (status = 404, description = "There is no such site"),
        (status = 409, description = "The twin belongs to another site, or the site is being deleted"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn put(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let how = Steering::read(&request)?;
    let twin = twin_id(&request)?;
    let precondition = precondition(&request)?;
    let body = read_json(&request, payload, Accepts::Json).await?;
    let mut given = members(without_reserved(body.value), &["site", "tags", "desired"], "a twin that is PUT")?;
    let site = match given.remove("site") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(parse_site(&text).map_err(|problem| problem.at("/site"))?),
        Some(_) => return Err(Problem::rule("not-a-string", "/site", "site is the id of a site, as a string")),
    };
    let mut section = |name: &str| match given.remove(name) {
        None | Some(Value::Null) => Value::empty_object(),
        Some(value) => value,
    };
    let (tags, desired) = (section("tags"), section("desired"));
    let command = Command::Put { site, tags, desired, precondition };
    steer(&rest, &twin, command, body.bytes, how).await.map_err(at_site)
}

#[utoipa::path(
    patch, path = "/api/v1/twins/{id}", tag = "twins", operation_id = "patchTwin",
    summary = "Changes tags and desired by an RFC 7396 merge patch",
    request_body(content((PatchBody = "application/json"), (PatchBody = "application/merge-patch+json"))),
    responses(
        (status = 200, description = "The new twin", body = TwinBody<'_>),
        (status = 404, description = "There is no such twin"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn patch(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let how = Steering::read(&request)?;
    let twin = twin_id(&request)?;
    let precondition = precondition(&request)?;
    let body = read_json(&request, payload, Accepts::MergePatch).await?;
    let mut given = members(without_reserved(body.value), &["tags", "desired"], "a patch of a twin")?;
    let mut change = |name: &str| {
        given.remove(name).map(|value| SectionChange {
            at: Path::root(),
            // A merge patch removes by null; a section that is removed is empty.
            kind: if value == Value::Null { ChangeKind::Remove } else { ChangeKind::Merge(value) },
        })
    };
    let (tags, desired) = (change("tags"), change("desired"));
    let command = Command::Steer { tags, desired, precondition };
    steer(&rest, &twin, command, body.bytes, how).await
}

#[utoipa::path(
    delete, path = "/api/v1/twins/{id}", tag = "twins", operation_id = "deleteTwin",
    summary = "Deletes the twin; the id may be registered again and never gets old state",
    responses(
        (status = 204, description = "Deleted"),
        (status = 404, description = "There is no such twin"),
        (status = 412, description = "`If-Match` or `If-None-Match` does not hold"),
    ),
)]
pub(crate) async fn delete(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    // It would have to be remembered by what it deletes, and its repeat could delete a later life.
    keyless(&request, "deleting a twin (whose etag in If-Match binds it to this life)")?;
    let twin = twin_id(&request)?;
    let precondition = precondition(&request)?;
    rest.cluster.call(&twin, Command::Delete { precondition }, REQUEST_BYTES).await?;
    Ok(HttpResponse::NoContent().finish())
}
