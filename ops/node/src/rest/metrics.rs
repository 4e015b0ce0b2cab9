//! `/metrics`, for Prometheus.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};

use super::Rest;
use super::problem::Problem;
use super::query::Query;

/// Content type of the OpenMetrics text format.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics", summary = "Metrics of this node, as METRICS.md lists them",
    responses((status = 200, description = "OpenMetrics text", body = String, content_type = "application/openmetrics-text")),
    security(()),
)]
pub(crate) async fn metrics(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let text = rest.metrics.text().map_err(|_| Problem::internal("the metrics cannot be written"))?;
    Ok(HttpResponse::Ok().content_type(OPEN_METRICS).body(text))
}
