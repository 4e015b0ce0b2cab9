//! The bearer token that everything under `/api/v1` needs.

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::Rest;
use super::problem::Problem;

/// Lets a request pass only with the token. What the request asks for is not looked at before: a stranger learns nothing, not
/// even which routes there are.
pub(crate) async fn require_token<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, actix_web::Error> {
    match check(&request) {
        Ok(()) => next.call(request).await.map(ServiceResponse::map_into_left_body),
        Err(problem) => Ok(request.into_response(problem.response().map_into_right_body())),
    }
}

fn check(request: &ServiceRequest) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
    let rest = request.app_data::<Data<Rest>>().ok_or_else(|| Problem::internal("the REST has no state"))?;
    let mut given = request.headers().get_all(header::AUTHORIZATION);
    let (Some(value), None) = (given.next(), given.next()) else {
        return Err(refused(
            "send the node's token once, as `Authorization: Bearer <token>`; it is in admin.token of the data directory",
        ));
    };
    let (scheme, token) = value.to_str().unwrap_or_default().split_once(' ').unwrap_or_default();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refused("the Authorization header is not of the form `Bearer <token>`"));
    }
    if rest.token.is(token.trim()) { Ok(()) } else { Err(refused("this is not the node's token")) }
}
