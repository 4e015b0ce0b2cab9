//! The twin as JSON, in the shape that Azure IoT Hub's users know.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_core::document::TwinDocument;
use twin_core::ids::{GatewayId, TwinId};
use twin_core::numbers::WallTime;
use twin_core::time_text::rfc3339;
use twin_core::value::Value;
use twin_core::view::{OpenView, ViewError};
use utoipa::ToSchema;

use super::body::JSON;
use super::conditional::{ReadOutcome, etag, read_condition};
use super::problem::Problem;

/// Bytes of a twin's JSON beside its sections, about.
const HEAD_BYTES: usize = 512;
/// A stored section is about so many times as long as JSON, where each value has its metadata. Only a guess at a capacity.
const JSON_BYTES_PER_BYTE: usize = 4;

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
            last_activity_time: time(document.last_activity),
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

impl From<ViewError> for Problem {
    fn from(error: ViewError) -> Self {
        Self::internal(error.to_string())
    }
}

/// The whole twin from its view: the bytes that [`TwinBody`] of its document has, so that both have the same ETag.
pub(crate) fn render_view(
    twin: &TwinId,
    view: &OpenView<'_>,
    steering: &str,
    last_activity: WallTime,
    is_connected: impl FnOnce(&GatewayId) -> bool,
) -> Result<Vec<u8>, ViewError> {
    let office = view.office()?.ok_or_else(|| ViewError::Record("it is not for the back office".to_owned()))?;
    let connected = office.gateway.as_ref().is_some_and(is_connected);
    let mut out = Vec::with_capacity(HEAD_BYTES + JSON_BYTES_PER_BYTE * view.size_bytes());
    // Put together by hand: `write!` takes as long as all else that is not a section. Ids hold nothing that JSON escapes.
    let text = |out: &mut Vec<u8>, before: &str, text: &str| {
        out.extend_from_slice(before.as_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    let number = |out: &mut Vec<u8>, before: &str, number: u64| {
        out.extend_from_slice(before.as_bytes());
        serde_json::to_writer(out, &number).map_err(|error| ViewError::Record(error.to_string()))
    };
    text(&mut out, r#"{"deviceId":""#, twin.as_str());
    text(&mut out, r#"","etag":""#, steering);
    number(&mut out, r#"","version":"#, view.version())?;
    number(&mut out, r#","incarnation":"#, view.incarnation().get())?;
    text(&mut out, r#","site":""#, office.site.as_str());
    text(&mut out, r#"","connectionState":""#, if connected { "Connected" } else { "Disconnected" });
    if let Some(at) = time(last_activity) {
        text(&mut out, r#"","lastActivityTime":""#, &at);
        out.push(b'"');
    } else {
        out.extend_from_slice(br#"","lastActivityTime":null"#);
    }
    out.extend_from_slice(br#","tags":"#);
    view.write_tags_json(&mut out)?;
    out.extend_from_slice(br#","properties":{"desired":"#);
    view.write_desired_json(&mut out)?;
    out.extend_from_slice(br#","reported":"#);
    view.write_reported_json(&mut out)?;
    out.extend_from_slice(br#"},"convergence":"#);
    view.write_convergence_json(&mut out)?;
    out.push(b'}');
    Ok(out)
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
    answer_bytes(request, &document.steering_etag, render(representation)?)
}

/// The same for a representation that is rendered already.
pub(crate) fn answer_bytes(request: &HttpRequest, steering: &str, bytes: Vec<u8>) -> Result<HttpResponse, Problem> {
    let etag = etag(steering, &bytes);
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

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::command::{Command, Precondition, Sender, StateBody};
    use twin_core::ids::{GatewayName, SiteId};
    use twin_core::json::parse;
    use twin_core::numbers::{AttachmentNo, Boot, Floor, OutboxId, Seq, Stay};
    use twin_core::op::Op;
    use twin_core::path::Path;
    use twin_core::twin::{StepContext, Twin};
    use twin_core::view::Audience;

    fn check(twin: &Twin, connected: bool) {
        let document = twin.document().unwrap();
        let view = twin.view(&Audience::BackOffice).unwrap();
        let is_connected = |gateway: &GatewayId| {
            assert_eq!(Some(gateway), document.gateway.as_ref());
            connected
        };
        let view = view.open().unwrap();
        let steering = view.steering_etag();
        let rendered = render_view(twin.id(), &view, &steering, document.last_activity, is_connected).unwrap();
        let wanted = render(&TwinBody::new(&document, connected && document.gateway.is_some())).unwrap();
        assert_eq!(String::from_utf8(rendered).unwrap(), String::from_utf8(wanted).unwrap());
    }

    #[test]
    fn a_view_is_rendered_byte_for_byte_as_its_document() {
        let mut twin = Twin::absent(TwinId::new("a%#*?!(),:=@$'+").unwrap());
        let step = |twin: &mut Twin, command, now| {
            let context = StepContext { now: WallTime::new(now), floor: Floor::new(3), observed: false };
            twin.step(command, context).answer.unwrap();
        };
        let json = |text: &str| parse(text.as_bytes(), "test").unwrap();
        let site = SiteId::new("store-1").unwrap();
        let put = Command::Put {
            site: Some(site.clone()),
            tags: json(r#"{"shelf": {"row": [4, "\u00e9\"\n"]}}"#),
            desired: json(r#"{"price": 2, "unit": {"name": "kg", "empty": {}}}"#),
            precondition: Precondition::None,
        };
        step(&mut twin, put, 1_700_000_000_000);
        check(&twin, true);
        let gateway = GatewayId { site, name: GatewayName::new("gw").unwrap() };
        let stay = Stay { boot: Boot::new(1), counter: 1 };
        let sender = Sender { gateway, outbox: OutboxId([1; 16]), stay };
        let attach = Command::Attach { sender: sender.clone(), saw: AttachmentNo::new(0), may_create: false };
        step(&mut twin, attach, 1_700_000_001_000);
        check(&twin, true);
        check(&twin, false);
        let set = |key: &str, value| Op::Set { path: Path::from_keys([key]), value };
        let ops = vec![set("price", 2.0.into()), set("!", json("[]")), set("temperature", 21.5.into())];
        let one = Seq::new(1);
        let report = Command::State { sender, first: one, last: one, body: StateBody::Report(ops) };
        step(&mut twin, report, 1_700_000_002_345);
        check(&twin, true);
    }
}
