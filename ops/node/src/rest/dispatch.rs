//! From a request to what answers it.
//!
//! In place of actix-web's own routing, which runs a regular expression for each path that has a name in it, boxes every layer around
//! a handler, and was a third of what reading a twin took beyond answering from memory.
//!
//! What stands before a handler stands here in its order: figures and the trace around everything; then the token; then, in
//! [`guard`], scope and audit log. Where nothing is it is 404; a method that a path lacks is 405 and told which it has.

use std::rc::Rc;

use actix_web::dev::{Service, ServiceFactory, ServiceRequest, ServiceResponse, always_ready};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Data;
use actix_web::{Error, HttpResponse, Route};
use futures_util::future::LocalBoxFuture;
use twin_cluster::tokens::Scope;

use super::Rest;
use super::auth::admit;
use super::guard::{Guarded, guard};
use super::problem::Problem;
use super::request_log::observe;
use super::routes::{API, Endpoint, api, open};
use crate::metrics::RouteMetrics;

/// The service of a route, as actix-web makes it.
pub(crate) type RouteService = <Route as ServiceFactory<ServiceRequest>>::Service;

/// Makes each worker its [`Dispatch`].
pub(crate) struct Dispatcher(Data<Rest>);

/// All routes of a worker.
pub(crate) struct Dispatch {
    rest: Data<Rest>,
    /// Below [`API`], behind the token. First what is asked for most: they are looked through in order.
    api: Vec<Rc<Place>>,
    open: Vec<Rc<Place>>,
    nowhere: Rc<RouteMetrics>,
}

/// One path.
struct Place {
    path: &'static str,
    segments: Vec<Segment>,
    /// What the Allow header says.
    allow: String,
    ways: Vec<Way>,
    metrics: RouteMetrics,
}

/// One method of a path.
struct Way {
    method: Method,
    scope: Scope,
    service: RouteService,
}

#[derive(Debug, PartialEq, Eq)]
enum Segment {
    /// This text.
    Is(&'static str),
    /// Any text but none.
    Name,
    /// Whatever follows, slashes too.
    Rest,
}

impl Dispatcher {
    pub(crate) fn new(rest: Data<Rest>) -> Self {
        Self(rest)
    }
}

impl ServiceFactory<ServiceRequest> for Dispatcher {
    type Response = ServiceResponse;
    type Error = Error;
    type Config = ();
    type Service = Dispatch;
    type InitError = ();
    type Future = LocalBoxFuture<'static, Result<Dispatch, ()>>;

    fn new_service(&self, (): ()) -> Self::Future {
        let rest = self.0.clone();
        Box::pin(async move {
            let metrics = |template: &str| RouteMetrics::new(&rest.metrics.requests, template);
            let place = async |prefix: &str, endpoint: Endpoint| {
                let Endpoint { path, routes, reads, changes } = endpoint;
                let allow = allowed(routes.iter().map(|(method, _)| method));
                let mut ways = Vec::new();
                for (method, route) in routes {
                    let scope = if method == Method::GET { reads } else { changes };
                    ways.push(Way { method, scope, service: route.new_service(()).await? });
                }
                let metrics = metrics(&format!("{prefix}{path}").replace(":.*}", "}"));
                Ok(Rc::new(Place { path, segments: segments(path), allow, ways, metrics }))
            };
            let (mut below, mut beside) = (Vec::new(), Vec::new());
            for endpoint in api() {
                below.push(place(API, endpoint).await?);
            }
            for endpoint in open() {
                beside.push(place("", endpoint).await?);
            }
            let nowhere = Rc::new(metrics("unmatched"));
            Ok(Dispatch { rest: rest.clone(), api: below, open: beside, nowhere })
        })
    }
}

impl Service<ServiceRequest> for Dispatch {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<ServiceResponse, Error>>;

    always_ready!();

    fn call(&self, request: ServiceRequest) -> Self::Future {
        // Decoded where that changes nothing about where segments begin, see `segments`.
        let path = request.match_info().unprocessed();
        let below = path.strip_prefix(API).filter(|below| below.is_empty() || below.starts_with('/'));
        let found = match below {
            Some(below) => find(&self.api, below),
            None => find(&self.open, path),
        };
        let (rest, nowhere, needs_token) = (self.rest.clone(), Rc::clone(&self.nowhere), below.is_some());
        // The only box of a request beside its handler's.
        Box::pin(async move {
            let metrics = found.as_ref().map_or(&*nowhere, |place| &place.metrics);
            observe(&rest, metrics, request, |request| answer(&rest, found.as_deref(), needs_token, request)).await
        })
    }
}

async fn answer(
    rest: &Data<Rest>,
    place: Option<&Place>,
    needs_token: bool,
    request: ServiceRequest,
) -> Result<ServiceResponse, Error> {
    // What is asked for matters only behind this: a stranger learns nothing, not even which routes there are.
    let admin = match needs_token.then(|| admit(rest, &request)).transpose() {
        Ok(admin) => admin,
        Err(problem) => return Ok(request.into_response(problem.response())),
    };
    let Some(place) = place else {
        let response = not_found(&request);
        return Ok(request.into_response(response));
    };
    let way = place.ways.iter().find(|way| {
        let asked = request.method();
        way.method == *asked || (way.method == Method::GET && *asked == Method::HEAD)
    });
    match (way, admin) {
        (None, _) => {
            let response = not_allowed(place, request.method());
            Ok(request.into_response(response))
        }
        (Some(way), None) => way.service.call(request).await,
        (Some(way), Some(admin)) => {
            let Way { scope, service, .. } = way;
            guard(Guarded { scope: *scope, route: place.path, service }, admin, rest, request).await
        }
    }
}

fn find(places: &[Rc<Place>], path: &str) -> Option<Rc<Place>> {
    places.iter().find(|place| matches(&place.segments, path)).cloned()
}

fn segments(pattern: &'static str) -> Vec<Segment> {
    let segment = |text: &'static str| match text.strip_prefix('{') {
        None => Segment::Is(text),
        Some(name) if name.ends_with(":.*}") => Segment::Rest,
        Some(_) => Segment::Name,
    };
    // Before the first slash is nothing.
    pattern.split('/').skip(1).map(segment).collect()
}

fn matches(segments: &[Segment], path: &str) -> bool {
    let mut given = path.split('/');
    if given.next() != Some("") {
        return false;
    }
    for segment in segments {
        match (segment, given.next()) {
            (Segment::Rest, Some(_)) => return true,
            (Segment::Name, Some(text)) if !text.is_empty() => {}
            (Segment::Is(name), Some(text)) if *name == text => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

/// Whoever can be read by GET can be asked by HEAD.
fn allowed<'a>(methods: impl Iterator<Item = &'a Method>) -> String {
    let mut methods: Vec<&str> = methods.map(Method::as_str).collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    methods.join(", ")
}

fn not_allowed(Place { allow, .. }: &Place, method: &Method) -> HttpResponse {
    let detail = format!("{method} is not possible here; possible are {allow}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail).allowing(allow).response()
}

fn not_found(request: &ServiceRequest) -> HttpResponse {
    let detail = format!("there is nothing at {}; GET /openapi.json lists what there is", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "route-not-found", detail).response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str) -> Option<&'static str> {
        api().into_iter().find(|endpoint| matches(&segments(endpoint.path), path)).map(|endpoint| endpoint.path)
    }

    #[test]
    fn a_path_is_found_by_its_segments() {
        for (path, pattern) in [
            ("/twins", Some("/twins")),
            ("/twins:batchGet", Some("/twins:batchGet")),
            ("/twins/a:b(c)%25", Some("/twins/{id}")),
            ("/twins/a/desired", Some("/twins/{id}/desired")),
            ("/twins/a/desired/", Some("/twins/{id}/desired/{pointer:.*}")),
            ("/twins/a/desired/x/y//z/", Some("/twins/{id}/desired/{pointer:.*}")),
            ("/twins/a/methods/m", Some("/twins/{id}/methods/{name}")),
            ("/sites/s/gateways/g/keys/old", Some("/sites/{id}/gateways/{name}/keys/old")),
            ("", None),
            ("/", None),
            ("twins", None),
            ("/twins/", None),
            ("//twins", None),
            ("/twins/a/", None),
            ("/twins//desired", None),
            ("/twins/a/wanted", None),
            ("/twins/a/methods/m/n", None),
        ] {
            assert_eq!(found(path), pattern, "{path}");
        }
    }

    #[test]
    fn every_path_is_found_by_itself_and_by_nothing_before_it() {
        for endpoint in api() {
            let path = endpoint.path.replace("{id}", "i").replace("{name}", "n").replace("{pointer:.*}", "a/b");
            assert_eq!(found(&path), Some(endpoint.path));
        }
    }

    #[test]
    fn who_may_get_may_ask_for_the_head() {
        assert_eq!(allowed([Method::GET, Method::PUT].iter()), "GET, PUT, HEAD");
        assert_eq!(allowed([Method::POST].iter()), "POST");
    }
}
