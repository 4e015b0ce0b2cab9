//! `/api/v1/events` and `/api/v1/twins/{id}/events`: server-sent events of what was committed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use twin_cluster::event_ring::{EventId, Observed, Reset};
use twin_cluster::observers::Observation;
use twin_core::command::Command;
use twin_core::event::OutboundKind;
use twin_core::op::Op;
use twin_core::time_text::rfc3339;
use twin_core::value::Value;
use utoipa::ToSchema;

use super::Rest;
use super::events_filter::Filter;
use super::ops_json::{OpBody, bodies};
use super::problem::Problem;
use super::query::Query;
use super::segments::twin_id;
use super::twins::document_of;
use crate::limits::{EVENTS_CHUNK_BYTES, EVENTS_GONE_AFTER, EVENTS_KEEP_ALIVE, EVENTS_PER_CHUNK, OBSERVERS_MAX};

/// One event of a stream, as server-sent events are read.
#[derive(ToSchema)]
#[schema(as = StreamedEvent)]
#[expect(dead_code, reason = "says what `write_event` and its like write")]
pub(crate) struct StreamedEvent<'a> {
    /// Its kind.
    event: &'a str,
    /// What to send as Last-Event-ID. `lagged` has none of its own.
    id: Option<&'a str>,
    /// An `Event`; of a `reset` an object with `reason`, of `lagged` one with `missed`.
    #[schema(content_media_type = "application/json")]
    data: &'a str,
}

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
    /// `attached`, `detached`, `alarm`: the gateway's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<&'a str>,
    /// `attached`: the number of the attachment.
    #[serde(skip_serializing_if = "Option::is_none")]
    attachment: Option<u64>,
    /// `event`, `alarm`: the name that the device gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// `event`, `alarm`: its payload.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<serde_json::Value>)]
    payload: Option<&'a Value>,
    /// `alarm`: its number, rising by one with each alarm of the twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// `alarm`: `info`, `warning`, `major` or `critical`.
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    /// `alarm`: when it was raised, by the gateway's clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    raised_at: Option<String>,
}

#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", operation_id = "observe",
    summary = "Everything that happens to twins, after its commit, as server-sent events",
    description = "Kinds: created, deleted, reported, desired, tags, delivered, applied, rejected, attached, detached, event, alarm; \
                   lagged, with `missed`, where the observer was too slow and should read again what it follows; and reset, with \
                   `reason` (`restarted`, `too-old`, `unknown`), where what came after Last-Event-ID cannot be told and the observer \
                   must read anew. Each event has an id. An observer that comes back with the last one in Last-Event-ID hears \
                   everything after it, if it comes within half a minute and the node was not restarted meanwhile. With `path` \
                   only created, deleted and what concerns that place is told, each event whole.",
    params(
        ("site" = Option<String>, Query, description = "Only twins of this site", max_length = 64, pattern = "^[A-Za-z0-9._-]*$"),
        ("prefix" = Option<String>, Query, description = "Only twins whose id begins so", max_length = 128),
        ("path" = Option<String>, Query, description = "Only what concerns this place of the twin, as a JSON pointer: `/desired/price`, `/reported`", max_length = 4096, pattern = r"^(/(tags|desired|reported)(/[^~]*)?)?$"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the observer heard"),
    ),
    responses(
        (status = 200, description = "A stream that does not end, of such events", body = StreamedEvent<'_>, content_type = "text/event-stream"),
        (status = 404, description = "There is no such site"),
    ),
)]
pub(crate) async fn all(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let filter = Filter::of_all(&Query::read(&request, &["site", "prefix", "path"])?)?;
    if let Some(site) = &filter.site {
        rest.cluster.site(site).await?;
    }
    let Some(place) = take_place(&request, &rest)? else { return Ok(head().finish()) };
    let observation = rest.cluster.observe(last_event(&request));
    Ok(stream(&rest, place, observation, filter))
}

#[utoipa::path(
    get, path = "/api/v1/twins/{id}/events", tag = "events", operation_id = "observeTwin",
    summary = "What happens to one twin, after its commit, as server-sent events",
    params(
        ("path" = Option<String>, Query, description = "Only what concerns this place of the twin, as a JSON pointer", max_length = 4096, pattern = r"^(/(tags|desired|reported)(/[^~]*)?)?$"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the observer heard"),
    ),
    responses(
        (status = 200, description = "A stream that does not end, of such events", body = StreamedEvent<'_>, content_type = "text/event-stream"),
        (status = 404, description = "There is no such twin"),
    ),
)]
pub(crate) async fn of_twin(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["path"])?;
    let twin = twin_id(&request)?;
    let filter = Filter::of_twin(Some(twin.clone()), &query)?;
    let Some(place) = take_place(&request, &rest)? else {
        document_of(&rest, &twin, Command::Read, 0).await?;
        return Ok(head().finish());
    };
    // Observing begins before the twin is looked for: whatever is committed after that look is seen.
    let observation = rest.cluster.observe(last_event(&request));
    document_of(&rest, &twin, Command::Read, 0).await?;
    Ok(stream(&rest, place, observation, filter))
}

fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        // Proxies of nginx's kind would hold events back.
        .insert_header(("X-Accel-Buffering", "no"));
    response
}

/// A place among the observers. `None`: who asks for the head observes nothing.
fn take_place(request: &HttpRequest, rest: &Rest) -> Result<Option<OwnedSemaphorePermit>, Problem> {
    if request.method() == Method::HEAD {
        return Ok(None);
    }
    let Ok(permit) = Arc::clone(&rest.observers).try_acquire_owned() else {
        let detail =
            format!("{OBSERVERS_MAX} observers are connected, which is the limit; close one, or try again later");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(OBSERVERS_MAX as u64);
        return Err(problem.retry_after(EVENTS_GONE_AFTER));
    };
    Ok(Some(permit))
}

/// Where the observer was cut off. An id that is none leads to a reset rather than a refusal: browsers send back whatever they got
/// last, from wherever, and would never stop.
fn last_event(request: &HttpRequest) -> Option<Result<EventId, Reset>> {
    let value = request.headers().get("Last-Event-ID").filter(|value| !value.is_empty())?;
    Some(value.to_str().map_err(|_| Reset::Unknown).and_then(str::parse))
}

fn stream(rest: &Rest, place: OwnedSemaphorePermit, observation: Observation, filter: Filter) -> HttpResponse {
    let mut silence = interval(EVENTS_KEEP_ALIVE);
    silence.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let Observation { reset, begun_at, missed, events } = observation;
    let mut greeting = ": observing\n\n".to_owned();
    match (reset, missed.front()) {
        (Some(reset), _) => write_reset(&mut greeting, begun_at, reset),
        // Also who hears nothing for long, or nothing of what it filters, knows where it was.
        (None, None) => write_id(&mut greeting, begun_at),
        (None, Some(_)) => {}
    }
    let closing = rest.closing.clone();
    let observer =
        Observer { greeting: Some(greeting), missed, events, at: begun_at, filter, silence, closing, _place: place };
    head().streaming(observer.chunks())
}

struct Observer {
    greeting: Option<String>,
    /// What it missed while it was away; before anything else.
    missed: VecDeque<Arc<Observed>>,
    events: Receiver<Arc<Observed>>,
    /// The last event that it passed, told or filtered out.
    at: EventId,
    filter: Filter,
    silence: Interval,
    closing: CancellationToken,
    _place: OwnedSemaphorePermit,
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
        if let Some(greeting) = self.greeting.take() {
            self.silence.reset();
            return Some(greeting);
        }
        loop {
            let mut chunk = String::new();
            while chunk.len() < EVENTS_CHUNK_BYTES
                && let Some(event) = self.missed.pop_front()
            {
                self.write(&mut chunk, &event);
            }
            if !chunk.is_empty() {
                return Some(chunk);
            }
            tokio::select! {
                () = self.closing.cancelled() => return None,
                _ = self.silence.tick() => {
                    chunk.push_str(": still here\n");
                    write_id(&mut chunk, self.at);
                    return Some(chunk);
                }
                received = self.events.recv() => match received {
                    Ok(event) => self.write(&mut chunk, &event),
                    Err(RecvError::Lagged(missed)) => write_lagged(&mut chunk, missed),
                    Err(RecvError::Closed) => return None,
                },
            }
            // What else is there goes into the same chunk.
            for _ in 1..EVENTS_PER_CHUNK {
                match self.events.try_recv() {
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

    fn write(&mut self, chunk: &mut String, observed: &Observed) {
        self.at = observed.id;
        if self.filter.passes(&observed.event) {
            write_event(chunk, observed);
        }
    }
}

/// An id by itself: no event, but where a stream that ends here is to be taken up.
fn write_id(chunk: &mut String, id: EventId) {
    let _ = write!(chunk, "id: {id}\n\n");
}

fn write_reset(chunk: &mut String, id: EventId, reset: Reset) {
    let _ = write!(chunk, "id: {id}\nevent: reset\ndata: {{\"reason\":\"{}\"}}\n\n", reset.code());
}

fn write_lagged(chunk: &mut String, missed: u64) {
    let _ = write!(chunk, "event: lagged\ndata: {{\"missed\":{missed}}}\n\n");
}

fn write_event(chunk: &mut String, Observed { id, event }: &Observed) {
    let reported = match &event.kind {
        OutboundKind::Reported { ops, .. } => ops.unpack(),
        _ => Vec::new(),
    };
    let (kind, what) = describe(&event.kind, &reported);
    let body = EventBody {
        device_id: event.twin.as_str(),
        site: event.site.as_str(),
        incarnation: event.incarnation.get(),
        at: rfc3339(event.at),
        what,
    };
    // Compact JSON has no line breaks, which would end the data.
    match serde_json::to_string(&body) {
        Ok(data) => _ = write!(chunk, "id: {id}\nevent: {kind}\ndata: {data}\n\n"),
        Err(error) => tracing::error!(%error, kind, "an event cannot be written as JSON"),
    }
}

/// `reported`: the operations of a report.
fn describe<'a>(kind: &'a OutboundKind, reported: &'a [Op]) -> (&'static str, What<'a>) {
    let section = |version: &twin_core::numbers::Version, ops: &'a [Op]| What {
        version: Some(version.get()),
        ops: Some(bodies(ops)),
        ..What::default()
    };
    let upto = |version: &twin_core::numbers::Version| What { version: Some(version.get()), ..What::default() };
    match kind {
        OutboundKind::Created => ("created", What::default()),
        OutboundKind::Deleted => ("deleted", What::default()),
        OutboundKind::Reported { version, .. } => ("reported", section(version, reported)),
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
        OutboundKind::Alarm { alarm: taken } => (
            "alarm",
            What {
                name: Some(&taken.alarm.name),
                payload: Some(&taken.alarm.payload),
                number: Some(taken.number.get()),
                severity: Some(taken.alarm.severity.name()),
                gateway: Some(taken.gateway.name.as_str()),
                raised_at: Some(rfc3339(taken.alarm.raised_at)),
                ..What::default()
            },
        ),
        OutboundKind::Event { name, payload } => {
            ("event", What { name: Some(name), payload: Some(payload), ..What::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twin_core::event::Outbound;
    use twin_core::ids::{SiteId, TwinId};
    use twin_core::numbers::{Incarnation, Version, WallTime};
    use twin_core::path::Path;
    use twin_core::report::PackedReport;

    #[test]
    fn an_event_is_one_block_of_kind_and_compact_json() {
        let ops = [Op::Set { path: Path::from_pointer("/a").unwrap(), value: "x\ny".into() }];
        let event = Outbound {
            twin: TwinId::new("t").unwrap(),
            site: SiteId::default_site(),
            incarnation: Incarnation::new(1),
            at: WallTime::new(0),
            kind: OutboundKind::Reported { version: Version::new(2), ops: PackedReport::from(&ops[..]) },
        };
        let mut chunk = String::new();
        write_event(&mut chunk, &Observed { id: EventId { start: 26, number: 7 }, event });
        assert_eq!(
            chunk,
            "id: 000000000000001a-7\nevent: reported\ndata: {\"deviceId\":\"t\",\"site\":\"default\",\"incarnation\":1,\
             \"at\":\"1970-01-01T00:00:00.000Z\",\"version\":2,\"ops\":[{\"op\":\"set\",\"path\":\"/a\",\"value\":\"x\\ny\"}]}\n\n"
        );
    }
}
