//! Changes of a twin, as every PUT, PATCH and DELETE of it or of a part of it is carried out.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use twin_core::command::{Answer, Command};
use twin_core::ids::{IdempotencyKey, TwinId};
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::Operation;

use super::Rest;
use super::document::answer_write;
use super::once::{key, once, tell};
use super::problem::Problem;
use super::query::Query;
use super::wait::{Reached, Wait};
use crate::limits::REQUEST_BYTES;

/// What came of waiting for the device.
const WAIT_OUTCOME: HeaderName = HeaderName::from_static("wait-outcome");

/// How a change is to be carried out.
pub(crate) struct Steering {
    key: Option<IdempotencyKey>,
    wait: Option<Wait>,
}

impl Steering {
    /// Reads the request's query and its key.
    pub(crate) fn read(request: &HttpRequest) -> Result<Self, Problem> {
        let query = Query::read(request, &["wait", "timeout"])?;
        Ok(Self { wait: Wait::read(&query)?, key: key(request.headers())? })
    }
}

/// Carries out a change; the answer is the document, at the earliest when it is committed.
pub(crate) async fn steer(
    rest: &Rest,
    twin: &TwinId,
    change: Command,
    body_bytes: usize,
    how: Steering,
) -> Result<HttpResponse, Problem> {
    // Before the change: what happens to it then is not missed, and where there is no room nothing was done.
    let waiting = how.wait.map(|wait| wait.begin(rest, twin)).transpose()?;
    let answer = rest.cluster.call(twin, once(change, how.key), REQUEST_BYTES + body_bytes).await?;
    let (document, created, once) = match answer {
        Answer::Document { document, created } => (document, created, None),
        Answer::Once(mut answer) => match answer.document.take() {
            Some(document) => (document, answer.outcome.created, Some(answer)),
            None => return Err(Problem::internal("the twin answered a change with a key without its document")),
        },
        other => return Err(Problem::internal(format!("the twin answered {other:?} where a document was due"))),
    };
    let done = if created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match waiting {
        None => answer_write(done, &document, rest.cluster.is_connected(&document))?,
        Some(waiting) => {
            let version = once.as_ref().map_or(document.desired_version, |once| once.outcome.desired_version);
            let (reached, document) = waiting.until(rest, document, version).await?;
            let status = if reached == Reached::Pending { StatusCode::ACCEPTED } else { done };
            let mut response = answer_write(status, &document, rest.cluster.is_connected(&document))?;
            response.headers_mut().insert(WAIT_OUTCOME, HeaderValue::from_static(reached.name()));
            response
        }
    };
    if let Some(once) = &once {
        tell(&mut response, once);
    }
    Ok(response)
}

/// The operations that are carried out here, in the description.
pub(crate) fn steered(openapi: &mut OpenApi) -> impl Iterator<Item = &mut Operation> {
    openapi.paths.paths.iter_mut().flat_map(|(path, item)| {
        let place = path.strip_prefix("/api/v1/twins/{id}");
        let is_section = place.is_some_and(|place| place.starts_with("/tags") || place.starts_with("/desired"));
        let is_twin = place == Some("");
        let put = item.put.as_mut().filter(|_| is_twin || is_section);
        let patch = item.patch.as_mut().filter(|_| is_twin || is_section);
        [put, patch, item.delete.as_mut().filter(|_| is_section)].into_iter().flatten()
    })
}
