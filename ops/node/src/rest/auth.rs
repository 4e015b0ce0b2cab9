//! The bearer token that everything under `/api/v1` needs.

use actix_web::dev::ServiceRequest;
use actix_web::http::{StatusCode, header};
use twin_cluster::tokens::{Admin, NotAdmitted};

use super::Rest;
use super::problem::Problem;
use super::strangers::Stranger;
use crate::audit::Event;

/// Where a request comes from, without its port: what its security events are gathered by.
pub(crate) fn source(request: &ServiceRequest) -> String {
    request.peer_addr().map_or_else(|| "unknown".to_owned(), |peer| peer.ip().to_string())
}

/// Whose token a request shows. What the request asks for is not looked at before: a stranger learns nothing, not even which routes
/// there are.
///
/// There is no lock-out after failures: tokens have 256 random bits, a wrong one costs one hash and one row looked for, and whoever
/// is behind the same proxy as an attacker would be locked out with him.
pub(crate) fn admit(rest: &Rest, request: &ServiceRequest) -> Result<Admin, Problem> {
    let admin = check(rest, request)?;
    request.conn_data::<Stranger>().inspect(|stranger| stranger.known());
    Ok(admin)
}

fn check(rest: &Rest, request: &ServiceRequest) -> Result<Admin, Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
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
