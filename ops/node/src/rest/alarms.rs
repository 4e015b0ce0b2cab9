//! `/api/v1/twins/{id}/alarms`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::alarm::TakenAlarm;
use twin_core::command::{Answer, Command};
use twin_core::time_text::rfc3339;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::Rest;
use super::document::json;
use super::problem::Problem;
use super::query::Query;
use super::segments::twin_id;
use crate::limits::REQUEST_BYTES;

/// The latest alarms of a twin.
#[derive(Serialize, ToSchema)]
#[schema(as = Alarms)]
pub(crate) struct AlarmsBody<'a> {
    /// Oldest first, at most 16, and fewer where their names and payloads have more than 16 KiB. They are no part of the twin's
    /// document: neither its version nor its ETag changes with them.
    #[schema(max_items = 16)]
    alarms: Vec<AlarmBody<'a>>,
}

/// An alarm.
#[derive(Serialize, ToSchema)]
#[schema(as = Alarm)]
#[serde(rename_all = "camelCase")]
struct AlarmBody<'a> {
    /// Rises by one with each alarm of the twin: a hole before the first is alarms that had to go.
    number: u64,
    /// What it is about.
    name: &'a str,
    /// `info`, `warning`, `major` or `critical`.
    severity: &'static str,
    /// Name of the gateway that raised it. It need not be the one that serves the device now.
    gateway: &'a str,
    /// When it was raised, by the gateway's clock.
    raised_at: String,
    /// When the twin took it, by the node's clock.
    at: String,
    /// Details.
    #[schema(value_type = serde_json::Value)]
    payload: &'a Value,
}

impl<'a> From<&'a TakenAlarm> for AlarmBody<'a> {
    fn from(taken: &'a TakenAlarm) -> Self {
        Self {
            number: taken.number.get(),
            name: &taken.alarm.name,
            severity: taken.alarm.severity.name(),
            gateway: taken.gateway.name.as_str(),
            raised_at: rfc3339(taken.alarm.raised_at),
            at: rfc3339(taken.taken_at),
            payload: &taken.alarm.payload,
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}/alarms", tag = "twins", operation_id = "getAlarms",
    summary = "The twin's latest alarms, oldest first",
    responses((status = 200, description = "The alarms", body = AlarmsBody<'_>), (status = 404, description = "There is no such twin")),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let twin = twin_id(&request)?;
    match rest.cluster.call(&twin, Command::ReadAlarms, REQUEST_BYTES).await? {
        Answer::Alarms(alarms) => {
            json(StatusCode::OK, &AlarmsBody { alarms: alarms.iter().map(AlarmBody::from).collect() })
        }
        other => Err(Problem::internal(format!("the twin answered {other:?} where its alarms were due"))),
    }
}
