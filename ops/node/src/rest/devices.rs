//! `/api/v1/sites/{id}/devices`: the ids that a site's devices may have, where its enrolment is `list`.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::ids::TwinId;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, members, read_json};
use super::document::json;
use super::guard::audit_detail;
use super::once::keyless;
use super::problem::Problem;
use super::query::Query;
use super::segments::site_id;
use crate::limits::{DEVICES_PAGE_DEFAULT, DEVICES_PAGE_MAX};

/// A change of the list.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
#[schema(as = DevicesPost)]
pub(crate) struct PostBody {
    /// Ids to add; those that are on the list already stay.
    #[schema(value_type = Option<Vec<String>>)]
    add: (),
    /// Ids to remove; twins that are registered stay as they are.
    #[schema(value_type = Option<Vec<String>>)]
    remove: (),
}

/// What became of it.
#[derive(Serialize, ToSchema)]
#[schema(as = DevicesChanged)]
pub(crate) struct ChangedBody {
    /// Ids that were not on the list before.
    added: usize,
    /// Ids that were on it before.
    removed: usize,
    /// Ids that are on it now.
    total: usize,
}

/// A page of the list.
#[derive(Serialize, ToSchema)]
#[schema(as = DevicesPage)]
pub(crate) struct PageBody {
    /// In order.
    devices: Vec<String>,
    /// `after` of the next page; null: this was the last.
    next: Option<String>,
}

#[utoipa::path(
    get, path = "/api/v1/sites/{id}/devices", tag = "sites", operation_id = "listSiteDevices",
    summary = "The ids that may be attached at the site where its enrolment is `list`, in pages",
    params(
        ("limit" = Option<u64>, Query, description = "Most ids of the page; 1,000 unless given", minimum = 1, maximum = 4096),
        ("after" = Option<String>, Query, description = "`next` of the page before", max_length = 128),
    ),
    responses((status = 200, description = "A page", body = PageBody), (status = 404, description = "There is no such site")),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["limit", "after"])?;
    let limit = query.number("limit", 1..=DEVICES_PAGE_MAX)?.unwrap_or(DEVICES_PAGE_DEFAULT);
    let after = query.get("after").map(parse).transpose()?;
    let (devices, next) = rest.cluster.devices(&site_id(&request)?, after.as_ref(), limit as usize).await?;
    let devices = devices.iter().map(ToString::to_string).collect();
    json(StatusCode::OK, &PageBody { devices, next: next.map(|id| id.to_string()) })
}

#[utoipa::path(
    post, path = "/api/v1/sites/{id}/devices", tag = "sites", operation_id = "changeSiteDevices",
    summary = "Adds ids to the site's list and removes others; may be made again",
    request_body(content = PostBody, content_type = "application/json"),
    responses((status = 200, description = "Changed", body = ChangedBody), (status = 404, description = "There is no such site")),
)]
pub(crate) async fn post(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "a change of a site's list (which may be made again: ids that are as asked already stay so)")?;
    let site = site_id(&request)?;
    let body = read_json(&request, payload, Accepts::Json).await?;
    let mut given = members(body.value, &["add", "remove"], "a change of a list")?;
    let add = ids("add", given.remove("add"))?;
    let remove = ids("remove", given.remove("remove"))?;
    let changed = rest.cluster.change_devices(&site, &add, &remove).await?;
    audit_detail(&request, format!("{} added, {} removed, {} on it", changed.added, changed.removed, changed.total));
    json(StatusCode::OK, &ChangedBody { added: changed.added, removed: changed.removed, total: changed.total })
}

fn parse(text: &str) -> Result<TwinId, Problem> {
    TwinId::new(text).map_err(|error| Problem::bad_request("bad-id", error.to_string()))
}

fn ids(name: &str, given: Option<Value>) -> Result<Vec<TwinId>, Problem> {
    let items = match given {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(items)) => items,
        Some(_) => return Err(Problem::rule("not-an-array", format!("/{name}"), format!("{name} is an array of ids"))),
    };
    let id = |(at, item): (usize, &Value)| match item {
        Value::String(text) => parse(text).map_err(|problem| problem.at(format!("/{name}/{at}"))),
        _ => Err(Problem::rule("not-a-string", format!("/{name}/{at}"), "an id is a string")),
    };
    items.iter().enumerate().map(id).collect()
}
