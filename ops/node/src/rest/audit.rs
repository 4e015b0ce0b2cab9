//! `/api/v1/audit`: who changed what, and who was turned away.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use utoipa::ToSchema;

use super::Rest;
use super::document::json;
use super::problem::Problem;
use super::query::Query;
use crate::audit::{Kind, Line};
use crate::limits::{AUDIT_PAGE_DEFAULT, AUDIT_PAGE_MAX};

/// A page of the audit log.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
pub(crate) struct PageBody {
    /// Newest first.
    entries: Vec<Line>,
    /// `before` of the next page; null: this was the last.
    next: Option<u64>,
}

#[utoipa::path(
    get, path = "/api/v1/audit", tag = "access", operation_id = "listAudit",
    summary = "This node's audit log, newest first: changes, steering, and security events",
    params(
        ("limit" = Option<u64>, Query, description = "Most entries of the page; 100 unless given", minimum = 1, maximum = 1000),
        ("before" = Option<u64>, Query, description = "Only entries before this number: `next` of the page before", minimum = 1, maximum = 9_007_199_254_740_991_u64),
        ("kind" = Option<Kind>, Query, description = "Only entries of this kind"),
    ),
    responses((status = 200, description = "A page", body = PageBody)),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["limit", "before", "kind"])?;
    let limit = query.number("limit", 1..=AUDIT_PAGE_MAX)?.unwrap_or(AUDIT_PAGE_DEFAULT);
    let before = query.number("before", 1..=(1 << 53) - 1)?.unwrap_or(u64::MAX);
    let kinds = match query.get("kind") {
        None => Kind::ALL.to_vec(),
        Some(text) => vec![Kind::from_text(text).ok_or_else(|| {
            let known = Kind::ALL.map(Kind::as_str).join(", ");
            Problem::bad_request("bad-kind", format!("kind is one of {known}, not {text:?}"))
        })?],
    };
    let audit = rest.audit.clone();
    // On the node's threads: the REST's own are few.
    let page = rest.runtime.spawn(async move { audit.read(kinds, before, limit as usize).await });
    let page = page.await.map_err(|error| Problem::internal(error.to_string()))?;
    let page = page.map_err(|error| Problem::internal(format!("the audit log cannot be read: {error}")))?;
    json(StatusCode::OK, &PageBody { entries: page.lines, next: page.next })
}
