//! `/api/v1/events` and `/api/v1/twins/{id}/events`: server-sent events of what was committed.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use twin_core::command::Command;
use twin_core::event::{Outbound, OutboundKind};
use twin_core::ids::{SiteId, TwinId};
use twin_core::time_text::rfc3339;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::Rest;
use super::ops_json::{OpBody, bodies};
use super::problem::Problem;
use super::query::Query;
use super::segments::{parse_site, twin_id};
use super::twins::document_of;
use crate::limits::{EVENTS_GONE_AFTER, EVENTS_KEEP_ALIVE, EVENTS_PER_CHUNK, OBSERVERS_MAX};

/// The `data` of an event; its kind stands in `event`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Event)]
pub(crate) struct EventBody<'a> {
    device_id: &'a str,
    site: &'a str,
    /// Which life of the id.
    incarnation: u64,
    /// When, by the node's clock.
    #[schema(format = DateTime)]
    at: String,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Default, Serialize, ToSchema)]
struct What<'a> {
    /// `reported`, `desired`, `tags`: the section's new version. `delivered`, `applied`: up to which version of desired.
    /// `rejected`: the version that set the property.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// `reported`, `desired`, `tags`: the changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    ops: Option<Vec<OpBody<'a>>>,
    /// `rejected`: which property of desired, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// `rejected`: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// `attached`, `detached`: the gateway's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    /// `attached`: the number of the attachment.
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<u64>,
    /// `event`: the name that the device gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// `event`: its payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<&'a Value>,
}

#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", operation_id = "observe",
    summary = "Everything that happens to twins, after its commit, as server-sent events",
    description = "Kinds: created, deleted, reported, desired, tags, delivered, applied, rejected, attached, detached, event; \
                   and lagged, with `missed`, where the observer was too slow and should read again what it follows.",
    params(("site" = Option<String>, Query, description = "Only twins of this site", min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$")),
    responses(
        (status = 200, description = "A stream that does not end", body = EventBody<'_>, content_type = "text/event-stream"),
        (status = 404, description = "There is no such site"),
    ),
)]
pub(crate) async fn all(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["site"])?;
    let site = query.get("site").map(parse_site).transpose()?;
    let receiver = rest.cluster.observe();
    if let Some(site) = &site {
        rest.cluster.site(site).await?;
    }
    stream(&request, &rest, receiver, Filter::Site(site))
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}/events", tag = "events", operation_id = "observeTwin",
    summary = "What happens to one twin, after its commit, as server-sent events",
    responses(
        (status = 200, description = "A stream that does not end", body = EventBody<'_>, content_type = "text/event-stream"),
        (status = 404, description = "There is no such twin"),
    ),
)]
pub(crate) async fn of_twin(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let twin = twin_id(&request)?;
    // Observing begins before the twin is looked for: whatever is committed after that look is seen.
    let receiver = rest.cluster.observe();
    document_of(&rest, &twin, Command::Read, 0).await?;
    stream(&request, &rest, receiver, Filter::Twin(twin))
}

enum Filter {
    Site(Option<SiteId>),
    Twin(TwinId),
}

impl Filter {
    fn passes(&self, event: &Outbound) -> bool {
        match self {
            Self::Site(site) => site.as_ref().is_none_or(|site| *site == event.site),
            Self::Twin(twin) => *twin == event.twin,
        }
    }
}

fn stream(
    request: &HttpRequest,
    rest: &Rest,
    receiver: Receiver<Arc<Outbound>>,
    filter: Filter,
) -> Result<HttpResponse, Problem> {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // Proxies of nginx's kind would hold events back.
        .insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        // Who asks for the head observes nothing.
        return Ok(response.body(actix_web::body::None::new()));
    }
    let Ok(permit) = Arc::clone(&rest.observers).try_acquire_owned() else {
        let detail =
            format!("{OBSERVERS_MAX} observers are connected, which is the limit; close one, or try again later");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(OBSERVERS_MAX as u64);
        return Err(problem.retry_after(EVENTS_GONE_AFTER));
    };
    let mut silence = interval(EVENTS_KEEP_ALIVE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let observer = Observer { receiver, filter, silence, closing: rest.closing.clone(), begun: false, _permit: permit };
    Ok(response.streaming(observer.chunks()))
}

struct Observer {
    receiver: Receiver<Arc<Outbound>>,
    filter: Filter,
    silence: Interval,
    closing: CancellationToken,
    begun: bool,
    _permit: OwnedSemaphorePermit,
}

impl Observer {
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures_util::stream::unfold(self, async |mut observer| {
            let chunk = observer.next_chunk().await?;
            Some((Ok(chunk.into()), observer))
        })
    }

    /// Waits for something to say. `None`: the node is stopping.
    async fn next_chunk(&mut self) -> Option<String> {
        if !self.begun {
            self.begun = true;
            self.silence.reset();
            return Some(": observing\n\n".to_owned());
        }
        loop {
            let mut chunk = String::new();
            tokio::select! {
                () = self.closing.cancelled() => return None,
                _ = self.silence.tick() => return Some(": still here\n\n".to_owned()),
                received = self.receiver.recv() => match received {
                    Ok(event) => self.write(&mut chunk, &event),
                    Err(RecvError::Lagged(missed)) => write_lagged(&mut chunk, missed),
                    Err(RecvError::Closed) => return None,
                },
            }
            // What else is there goes into the same chunk.
            for _ in 1..EVENTS_PER_CHUNK {
                match self.receiver.try_recv() {
                    Ok(event) => self.write(&mut chunk, &event),
                    Err(TryRecvError::Lagged(missed)) => write_lagged(&mut chunk, missed),
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                }
            }
            if !chunk.is_empty() {
                self.silence.reset();
                return Some(chunk);
            }
        }
    }

    fn write(&self, chunk: &mut String, event: &Outbound) {
        if self.filter.passes(event) {
            write_event(chunk, event);
        }
    }
}

fn write_lagged(chunk: &mut String, missed: u64) {
    let _ = write!(chunk, "event: lagged\ndata: {{\"missed\":{missed}}}\n\n");
}

fn write_event(chunk: &mut String, event: &Outbound) {
    let (kind, what) = describe(&event.kind);
    let body = EventBody {
        device_id: event.twin.as_str(),
        site: event.site.as_str(),
        incarnation: event.incarnation.get(),
        at: rfc3339(event.at),
        what,
    };
    // Compact JSON has no line breaks, which would end the data.
    match serde_json::to_string(&body) {
        Ok(data) => _ = write!(chunk, "event: {kind}\ndata: {data}\n\n"),
        Err(error) => tracing::error!(%error, kind, "an event cannot be written as JSON"),
    }
}

fn describe(kind: &OutboundKind) -> (&'static str, What<'_>) {
    let section = |version: &twin_core::numbers::Version, ops| What {
        version: Some(version.get()),
        ops: Some(bodies(ops)),
        ..What::default()
    };
    let upto = |version: &twin_core::numbers::Version| What { version: Some(version.get()), ..What::default() };
    match kind {
        OutboundKind::Created => ("created", What::default()),
        OutboundKind::Deleted => ("deleted", What::default()),
        OutboundKind::Reported { version, ops } => ("reported", section(version, ops)),
        OutboundKind::Desired { version, ops, .. } => ("desired", section(version, ops)),
        OutboundKind::Tags { version, ops } => ("tags", section(version, ops)),
        OutboundKind::Delivered { version } => ("delivered", upto(version)),
        OutboundKind::Applied { version } => ("applied", upto(version)),
        OutboundKind::Rejected { path, version, reason } => {
            ("rejected", What { path: Some(path.to_string()), reason: Some(reason), ..upto(version) })
        }
        OutboundKind::Attached { gateway, attachment, .. } => (
            "attached",
            What { gateway: Some(gateway.name.as_str()), attachment: Some(attachment.get()), ..What::default() },
        ),
        OutboundKind::Detached { gateway } => {
            ("detached", What { gateway: Some(gateway.name.as_str()), ..What::default() })
        }
        OutboundKind::Event { name, payload } => {
            ("event", What { name: Some(name), payload: Some(payload), ..What::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::numbers::{Incarnation, Version, WallTime};
    use twin_core::op::Op;
    use twin_core::path::Path;

    #[test]
    fn an_event_is_one_block_of_kind_and_compact_json() {
        let ops = vec![Op::Set { path: Path::from_pointer("/a").unwrap(), value: "x\ny".into() }];
        let event = Outbound {
            twin: TwinId::new("t").unwrap(),
            site: SiteId::default_site(),
            incarnation: Incarnation::new(1),
            at: WallTime::new(0),
            kind: OutboundKind::Reported { version: Version::new(2), ops },
        };
        let mut chunk = String::new();
        write_event(&mut chunk, &event);
        assert_eq!(
            chunk,
            "event: reported\ndata: {\"deviceId\":\"t\",\"site\":\"default\",\"incarnation\":1,\
             \"at\":\"1970-01-01T00:00:00.000Z\",\"version\":2,\"ops\":[{\"op\":\"set\",\"path\":\"/a\",\"value\":\"x\\ny\"}]}\n\n"
        );
    }
}
