//! The bearer token that everything under `/api/v1` needs.

use actix_web::HttpMessage as _;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::Data;
use twin_cluster::tokens::{Admin, NotAdmitted};

use super::Rest;
use super::problem::Problem;
use super::strangers::Stranger;
use crate::audit::Event;

/// Lets a request pass only with a token, and notes whose it is. What the request asks for is not looked at before: a stranger learns
/// nothing, not even which routes there are.
///
/// There is no lock-out after failures: tokens have 256 random bits, a wrong one costs one hash and one row looked for, and whoever
/// is behind the same proxy as an attacker would be locked out with him.
pub(crate) async fn require_token<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    match check(&request) {
        Ok(admin) => {
            request.conn_data::<Stranger>().inspect(|stranger| stranger.known());
            request.extensions_mut().insert(admin);
            next.call(request).await.map(ServiceResponse::map_into_left_body)
        }
        Err(problem) => Ok(request.into_response(problem.response().map_into_right_body())),
    }
}

/// Where a request comes from, without its port: what its security events are gathered by.
pub(crate) fn source(request: &ServiceRequest) -> String {
    request.peer_addr().map_or_else(|| "unknown".to_owned(), |peer| peer.ip().to_string())
}

fn check(request: &ServiceRequest) -> Result<Admin, Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let rest = request.app_data::<Data<Rest>>().ok_or_else(|| Problem::internal("the REST has no state"))?;
    let mut given = request.headers().get_all(header::AUTHORIZATION);
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(refused(
            "send an admin token once, as `Authorization: Bearer <token>`; the first one is in admin.token of the data directory",
        ));
    };
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused("the Authorization header is not of the form `Bearer <token>`"));
    }
    rest.cluster.admit(token.trim()).map_err(|not| match not {
        NotAdmitted::Unknown => {
            let from = source(request);
            rest.watch.seen(Event::TokenRefused, from.clone(), |record| {
                record.from = Some(from);
                record.target = Some(format!("{} {}", request.method(), request.path()));
            });
            refused("this is no token of this cluster, or no longer")
        }
        NotAdmitted::Expired { name } => {
            let from = source(request);
            rest.watch.seen(Event::TokenExpired, from.clone(), |record| {
                record.who = Some(name.to_string());
                record.from = Some(from);
            });
            let detail = format!("the token {name} has ended; ask an operator for a new one");
            Problem::new(StatusCode::UNAUTHORIZED, "token-expired", detail)
        }
        NotAdmitted::Unavailable(refusal) => refusal.into(),
    })
}
