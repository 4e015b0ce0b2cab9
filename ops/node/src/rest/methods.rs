//! `/api/v1/twins/{id}/methods/{name}`: a call that goes down to the device, at most once.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::{KeyedAnswer, MethodCall};
use twin_core::json::to_compact;
use twin_core::value::{Number, Value};
use utoipa::ToSchema;

use super::Rest;
use super::body::{Accepts, members, read_json};
use super::document::json;
use super::once::{keyed, tell_outcome};
use super::problem::Problem;
use super::query::Query;
use super::segments::{method_name, twin_id};
use crate::limits::{METHOD_TIMEOUT_DEFAULT, METHOD_TIMEOUT_MAX, METHOD_TIMEOUT_MIN};

/// A method call.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a body that is read by hand, to name what is wrong in it")]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = MethodCall)]
pub(crate) struct CallBody {
    /// Given to the device's handler; null if absent.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: (),
    /// How long to wait for the device's answer; 30 unless given.
    #[schema(minimum = 1, maximum = 300)]
    timeout_seconds: Option<f64>,
}

/// A device's answer.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MethodAnswer)]
pub(crate) struct AnswerBody<'a> {
    /// The device's own status, HTTP-like.
    status: u16,
    /// What the device answered.
    #[schema(value_type = Option<serde_json::Value>)]
    payload: &'a Value,
    /// True where a repeat is told that the device answered, but its payload was larger than what is kept for repeats.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    payload_cut: bool,
}

#[utoipa::path(
    post, path = "/api/v1/twins/{id}/methods/{name}", tag = "twins", operation_id = "callMethod",
    summary = "Calls a method of the device and waits for its answer",
    params(("name" = String, Path, description = "The method's name", min_length = 1, max_length = 128, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")),
    request_body(content = CallBody, content_type = "application/json"),
    responses(
        (status = 200, description = "The device answered", body = AnswerBody<'_>),
        (status = 404, description = "There is no such twin, or its gateway has no such method"),
        (status = 409, description = "The device is not connected; nothing was sent"),
        (status = 504, description = "The device did not answer in time, or the link was lost: whether it acted is unknown"),
    ),
)]
pub(crate) async fn call(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let (twin, method) = (twin_id(&request)?, method_name(&request)?);
    let body = read_json(&request, payload, Accepts::Json).await?;
    let mut given = members(body.value, &["payload", "timeoutSeconds"], "a method call")?;
    let timeout = timeout(given.remove("timeoutSeconds"))?;
    let payload = given.remove("payload").unwrap_or_default();
    // How long the caller waits is no part of what is asked.
    let once = keyed(&request, "call 1", &[&method, &to_compact(&payload)])?;
    let call = MethodCall { method, payload, timeout };
    let Some(once) = once else {
        let answer = rest.cluster.call_method(&twin, call).await?;
        return json(
            StatusCode::OK,
            &AnswerBody { status: answer.status, payload: &answer.payload, payload_cut: false },
        );
    };
    let KeyedAnswer { call, replayed, answer } = rest.cluster.call_method_once(&twin, call, once).await?;
    let body = AnswerBody { status: answer.status, payload: &answer.payload, payload_cut: answer.is_cut };
    let mut response = json(StatusCode::OK, &body)?;
    tell_outcome(&mut response, &format!("call={call}"), replayed);
    Ok(response)
}

fn timeout(given: Option<Value>) -> Result<Duration, Problem> {
    let seconds = match given {
        None | Some(Value::Null) => return Ok(METHOD_TIMEOUT_DEFAULT),
        Some(Value::Number(Number::Integer(seconds))) => seconds as f64,
        Some(Value::Number(Number::Float(seconds))) => seconds,
        Some(_) => {
            return Err(Problem::rule("not-a-number", "/timeoutSeconds", "timeoutSeconds is a number of seconds"));
        }
    };
    let (min, max) = (METHOD_TIMEOUT_MIN.as_secs_f64(), METHOD_TIMEOUT_MAX.as_secs_f64());
    if !(min..=max).contains(&seconds) {
        let detail = format!("timeoutSeconds is from {min} to {max}, not {seconds}");
        return Err(Problem::rule("out-of-range", "/timeoutSeconds", detail).with_limit(METHOD_TIMEOUT_MAX.as_secs()));
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_bounded_on_both_sides() {
        assert_eq!(timeout(None).unwrap(), METHOD_TIMEOUT_DEFAULT);
        assert_eq!(timeout(Some(1.into())).unwrap(), Duration::from_secs(1));
        assert_eq!(timeout(Some(2.5.into())).unwrap(), Duration::from_millis(2500));
        for bad in [Value::from(0), 301.into(), (-1).into(), 0.5.into(), "30".into(), true.into()] {
            assert!(timeout(Some(bad.clone())).is_err(), "{bad:?}");
        }
    }
}
