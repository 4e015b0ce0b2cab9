//! Around every route: is the token's scope enough, and what of it goes into the audit log.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Service as _, ServiceRequest, ServiceResponse};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpMessage as _, HttpRequest};
use tokio::sync::oneshot;
use twin_cluster::tokens::{Admin, Scope};

use super::Rest;
use super::auth::source;
use super::dispatch::RouteService;
use super::problem::Problem;
use crate::audit::{Event, Kind, Record};
use crate::limits::{ADMISSION_CHECK_INTERVAL, AUDIT_RETRY_AFTER};

/// What a handler says of a change for the audit log, where the path does not.
struct Detail(String);

/// Says more of a change than its path does. Never a secret.
pub(crate) fn audit_detail(request: &HttpRequest, detail: impl Into<String>) {
    request.extensions_mut().insert(Detail(detail.into()));
}

/// The end of a change that goes on behind the head of its answer.
struct End(oneshot::Receiver<String>);

/// Says that what is to be said of a change is known only when it ends.
pub(crate) fn audit_end(request: &HttpRequest, detail: oneshot::Receiver<String>) {
    request.extensions_mut().insert(End(detail));
}

/// A route that needs a scope.
#[derive(Clone, Copy)]
pub(crate) struct Guarded<'a> {
    pub(crate) scope: Scope,
    /// As its path is in the table.
    pub(crate) route: &'static str,
    pub(crate) service: &'a RouteService,
}

/// Lets a request pass to its route.
///
/// **Invariant:** a change that needs scope `operate` is in the audit log, on the disk, before it is begun, and its outcome before it
/// is answered. If the caller goes meanwhile, or the node is killed, the first line stays without an outcome, which is the truth.
pub(crate) async fn guard(
    guarded: Guarded<'_>,
    admin: Admin,
    rest: &Data<Rest>,
    request: ServiceRequest,
) -> Result<ServiceResponse, actix_web::Error> {
    let Guarded { scope, .. } = guarded;
    if admin.scope < scope {
        let from = source(&request);
        let asked = format!("{} {}", request.method(), request.path());
        rest.watch.seen(Event::ScopeRefused, admin.name.to_string(), |record| {
            record.who = Some(admin.name.to_string());
            record.from = Some(from);
            record.target = Some(asked);
        });
        return Ok(request.into_response(Problem::scope(&admin, scope).response()));
    }
    let kind = match (scope, request.method()) {
        (_, &Method::GET | &Method::HEAD) | (Scope::Read, _) => None,
        (Scope::Steer, _) => Some(Kind::Steering),
        (Scope::Operate, _) => Some(Kind::Changes),
    };
    let Some(kind) = kind else {
        return Ok(while_admitted(guarded.service.call(request).await?, admin, rest));
    };
    // Boxed, so that reads do not carry the room that this needs from hand to hand.
    Box::pin(recorded(kind, guarded, admin, rest, request)).await
}

/// A change, with its lines in the audit log.
async fn recorded(
    kind: Kind,
    Guarded { route, service, .. }: Guarded<'_>,
    admin: Admin,
    rest: &Data<Rest>,
    request: ServiceRequest,
) -> Result<ServiceResponse, actix_web::Error> {
    let mut record = Record::new(kind, format!("{} {route}", request.method()));
    record.who = Some(admin.name.to_string());
    record.from = request.peer_addr().map(|peer| peer.to_string());
    record.target = Some(request.path().to_owned());
    if kind == Kind::Changes {
        match rest.audit.write(record.clone()).await {
            Ok(number) => record.begun = Some(number),
            Err(error) => return Ok(request.into_response(unaudited(&error).response())),
        }
    }
    let response = service.call(request).await?;
    record.status = Some(response.status().as_u16());
    record.code = response.response().error().and_then(|error| Some(error.as_error::<Problem>()?.code().to_owned()));
    record.detail = response.request().extensions().get::<Detail>().map(|detail| detail.0.clone());
    let end = response.request().extensions_mut().remove::<End>();
    if let Some(End(ended)) = end.filter(|_| response.status().is_success()) {
        write_at_end(rest, record, ended).await;
        return Ok(while_admitted(response, admin, rest));
    }
    // It is done, whatever becomes of the line; one that is lost is counted, and logged by whoever lost it.
    let _counted = rest.audit.write(record).await;
    Ok(while_admitted(response, admin, rest))
}

/// Writes that a change was begun, and how it ended when it has.
async fn write_at_end(rest: &Data<Rest>, mut record: Record, ended: oneshot::Receiver<String>) {
    let begun = Record { status: None, ..record.clone() };
    record.begun = rest.audit.write(begun).await.ok();
    let audit = rest.audit.clone();
    rest.runtime.spawn(async move {
        record.detail = ended.await.ok();
        let _counted = audit.write(record).await;
    });
}

fn unaudited(error: &crate::audit::AuditError) -> Problem {
    let detail = format!("nothing was changed, because it could not be logged before: {error}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "audit-unavailable", detail).retry_after(AUDIT_RETRY_AFTER)
}

/// An answer that goes on and on ends when its token does.
fn while_admitted(response: ServiceResponse, admin: Admin, rest: &Data<Rest>) -> ServiceResponse {
    if !matches!(response.response().body().size(), BodySize::Stream) {
        return response;
    }
    let rest = rest.clone();
    response.map_body(|_, body| {
        let checked_at = rest.clock.monotonic();
        BoxBody::new(WhileAdmitted { body, admin, rest, checked_at })
    })
}

struct WhileAdmitted {
    body: BoxBody,
    admin: Admin,
    rest: Data<Rest>,
    /// Monotonic.
    checked_at: Duration,
}

impl MessageBody for WhileAdmitted {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Box<dyn std::error::Error>>>> {
        let chunk = std::task::ready!(Pin::new(&mut self.body).poll_next(context));
        let now = self.rest.clock.monotonic();
        if now.saturating_sub(self.checked_at) >= ADMISSION_CHECK_INTERVAL {
            self.checked_at = now;
            if !self.rest.cluster.still_admits(&self.admin) {
                tracing::info!(token = %self.admin.name, "a stream ends with its token");
                return Poll::Ready(None);
            }
        }
        Poll::Ready(chunk)
    }
}
