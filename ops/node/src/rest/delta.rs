//! `/api/v1/twins/{id}/delta`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::command::{Answer, Command};
use twin_core::numbers::Version;
use utoipa::ToSchema;

use super::Rest;
use super::document::json;
use super::ops_json::{OpBody, bodies};
use super::problem::Problem;
use super::query::Query;
use super::segments::twin_id;
use crate::limits::REQUEST_BYTES;

/// How desired differs from what somebody at version `from` knows.
#[derive(Serialize, ToSchema)]
#[schema(as = Delta)]
pub(crate) struct DeltaBody<'a> {
    /// What was known.
    from: u64,
    /// What one is at after applying `ops`.
    to: u64,
    /// `ops` replaces everything: what was known is of no use.
    snapshot: bool,
    ops: Vec<OpBody<'a>>,
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}/delta", tag = "twins", operation_id = "getDelta",
    summary = "The changes of desired since a version, merged; or a snapshot",
    params(("since" = u64, Query, description = "`$version` of desired that the caller knows; 0: nothing", minimum = 0)),
    responses((status = 200, description = "The delta", body = DeltaBody<'_>), (status = 404, description = "There is no such twin")),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["since"])?;
    let twin = twin_id(&request)?;
    let Some(since) = query.number("since", 0..=i64::MAX as u64)? else {
        let detail = "query parameter \"since\" is missing: the `$version` of desired that you know, or 0";
        return Err(Problem::bad_request("missing-parameter", detail));
    };
    match rest.cluster.call(&twin, Command::ReadDelta { since: Version::new(since) }, REQUEST_BYTES).await? {
        Answer::Delta(delta) => {
            let body = DeltaBody {
                from: delta.from.get(),
                to: delta.to.get(),
                snapshot: delta.snapshot,
                ops: bodies(&delta.ops),
            };
            json(StatusCode::OK, &body)
        }
        other => Err(Problem::internal(format!("the twin answered {other:?} where a delta was due"))),
    }
}
