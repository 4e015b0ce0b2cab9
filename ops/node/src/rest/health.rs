//! `/healthz` and `/readyz`, for whoever supervises the process. Open: they tell nothing else.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_storage::Budgets;
use utoipa::ToSchema;

use super::Rest;
use super::document::json;
use super::problem::Problem;
use super::query::Query;

/// When to ask again whether the node is ready.
const READY_RETRY_AFTER: Duration = Duration::from_secs(1);

/// How the node is.
#[derive(Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthBody {
    /// `alive` or `ready`.
    status: &'static str,
}

#[utoipa::path(
    get, path = "/healthz", tag = "health", operation_id = "health", summary = "Does the process answer?",
    responses((status = 200, description = "Yes", body = HealthBody)), security(()),
)]
pub(crate) async fn healthz(request: HttpRequest) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    alive()
}

pub(crate) fn alive() -> Result<HttpResponse, Problem> {
    json(StatusCode::OK, &HealthBody { status: "alive" })
}

#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "ready", summary = "Would a write commit now?",
    responses((status = 200, description = "Yes", body = HealthBody), (status = 503, description = "No; `disk-full`: the disk has no room, and reads go on")), security(()),
)]
pub(crate) async fn readyz(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let would_commit = rest.cluster.is_ready() && !rest.closing.is_cancelled();
    if would_commit && rest.budgets.disk_pressure().is_none() {
        return json(StatusCode::OK, &HealthBody { status: "ready" });
    }
    Err(not_ready(&rest.budgets, "the node is starting or stopping: the directory or a cell has no leader here"))
}

/// Why no write would commit now: the disk, if that is why, or else what is said.
pub(crate) fn not_ready(budgets: &Budgets, or_else: &str) -> Problem {
    let (code, detail, after) = match budgets.disk_pressure() {
        Some(pressure) => ("disk-full", pressure.to_string(), pressure.retry_after()),
        None => ("not-ready", or_else.to_owned(), READY_RETRY_AFTER),
    };
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(after)
}
