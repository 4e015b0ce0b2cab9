//! The twin as JSON, in the shape that Azure IoT Hub's users know.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::document::TwinDocument;
use twin_core::numbers::WallTime;
use twin_core::time_text::rfc3339;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::body::JSON;
use super::conditional::{ReadOutcome, etag, read_condition};
use super::problem::Problem;

/// A device's twin.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Twin)]
pub(crate) struct TwinBody<'a> {
    /// The twin's id.
    device_id: &'a str,
    /// Covers tags and desired: what `If-Match` compares.
    etag: &'a str,
    /// Rises with every effective change of any section.
    version: u64,
    /// Counts the lives of the id.
    incarnation: u64,
    /// The site that the device belongs to.
    site: &'a str,
    connection_state: ConnectionState,
    /// When the device was last heard; null: never.
    #[schema(format = DateTime)]
    last_activity_time: Option<String>,
    /// Written by the back office, never sent to the device.
    #[schema(value_type = Object)]
    tags: &'a Value,
    properties: Properties<'a>,
    /// By JSON pointer into desired: how far each property has come.
    #[schema(value_type = std::collections::BTreeMap<String, ConvergenceBody>)]
    convergence: &'a Value,
}

/// Has the gateway that serves the device a session now?
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) enum ConnectionState {
    /// Yes.
    Connected,
    /// No.
    Disconnected,
}

/// What is desired and what was reported, each with `$version` and `$metadata`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Properties<'a> {
    /// Written by the back office, read by the device.
    #[schema(value_type = Object)]
    desired: &'a Value,
    /// Written by the device.
    #[schema(value_type = Object)]
    reported: &'a Value,
}

/// How far a desired property has come.
#[derive(Serialize, ToSchema)]
#[schema(as = Convergence)]
#[allow(dead_code, reason = "documents the shape of what the twin renders itself")]
pub(crate) struct ConvergenceBody {
    /// Where it is on its way.
    state: ConvergenceState,
    /// The version of desired that set it.
    version: u64,
    /// Why the device rejected it.
    reason: Option<String>,
}

/// Where a desired property is on its way.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[allow(dead_code, reason = "documents the shape of what the twin renders itself")]
pub(crate) enum ConvergenceState {
    /// Not yet at the device's gateway.
    Pending,
    /// At the device's gateway.
    Delivered,
    /// The device reported the value or acknowledged the version.
    Applied,
    /// The device refused it.
    Rejected,
    /// A newer value replaced it.
    Superseded,
}

/// Data for people; null where nothing ever happened.
pub(crate) fn time(at: WallTime) -> Option<String> {
    (at.get() != 0).then(|| rfc3339(at))
}

impl<'a> TwinBody<'a> {
    pub(crate) fn new(document: &'a TwinDocument, connected: bool) -> Self {
        Self {
            device_id: document.id.as_str(),
            etag: &document.steering_etag,
            version: document.version,
            incarnation: document.incarnation.get(),
            site: document.site.as_str(),
            connection_state: if connected { ConnectionState::Connected } else { ConnectionState::Disconnected },
            // A twin that no gateway ever attached has not been heard.
            last_activity_time: (document.attachment.get() > 0).then(|| time(document.last_activity)).flatten(),
            tags: &document.tags,
            properties: Properties { desired: &document.desired, reported: &document.reported },
            convergence: &document.convergence,
        }
    }
}

pub(crate) fn render<T: Serialize>(body: &T) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(body)
        .map_err(|error| Problem::internal(format!("the answer cannot be written as JSON: {error}")))
}

/// 200 with any JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, body: &T) -> Result<HttpResponse, Problem> {
    Ok(HttpResponse::build(status).content_type(JSON).body(render(body)?))
}

/// A read's answer: the representation with its ETag, or 304, or 412.
pub(crate) fn answer_read<T: Serialize>(
    request: &HttpRequest,
    document: &TwinDocument,
    representation: &T,
) -> Result<HttpResponse, Problem> {
    let bytes = render(representation)?;
    let etag = etag(&document.steering_etag, &bytes);
    let outcome = read_condition(request, &etag)?;
    let status = match outcome {
        ReadOutcome::NotModified => StatusCode::NOT_MODIFIED,
        ReadOutcome::Full => StatusCode::OK,
    };
    let mut response = HttpResponse::build(status);
    response.insert_header((header::ETAG, etag)).insert_header((header::CACHE_CONTROL, "no-cache"));
    Ok(match outcome {
        ReadOutcome::NotModified => response.finish(),
        ReadOutcome::Full => response.content_type(JSON).body(bytes),
    })
}

/// A write's answer: the new document with its ETag.
pub(crate) fn answer_write(
    status: StatusCode,
    document: &TwinDocument,
    connected: bool,
) -> Result<HttpResponse, Problem> {
    let bytes = render(&TwinBody::new(document, connected))?;
    let etag = etag(&document.steering_etag, &bytes);
    Ok(HttpResponse::build(status).insert_header((header::ETAG, etag)).content_type(JSON).body(bytes))
}
