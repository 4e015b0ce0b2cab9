//! The table of routes. Whatever is not in it is 404; a method that a route lacks is 405 and told which it has.

use actix_web::guard;
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};

use super::problem::Problem;
use super::{backup, batch, delta, events, gateways, health, methods, metrics, nodes, openapi, sections, sites, twins};

/// One path and what can be done there.
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) routes: Vec<(Method, Route)>,
}

impl Endpoint {
    fn at(path: &'static str) -> Self {
        Self { path, routes: Vec::new() }
    }

    fn on(mut self, method: Method, route: Route) -> Self {
        self.routes.push((method, route));
        self
    }

    /// What the Allow header says. Whoever can be read by GET can be asked by HEAD.
    pub(crate) fn allow(&self) -> String {
        let mut methods: Vec<&str> = self.routes.iter().map(|(method, _)| method.as_str()).collect();
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.join(", ")
    }

    fn resource(self) -> Resource {
        let allow = self.allow();
        let mut resource = web::resource(self.path);
        for (method, route) in self.routes {
            let is_get = method == Method::GET;
            let guarded = guard::fn_guard(move |context| {
                let asked = &context.head().method;
                *asked == method || (is_get && *asked == Method::HEAD)
            });
            resource = resource.route(route.guard(guarded));
        }
        resource.default_service(web::to(move |request: HttpRequest| {
            let problem = Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                format!("{} is not possible here; possible are {allow}", request.method()),
            )
            .allowing(&allow);
            async move { problem.response() }
        }))
    }
}

/// Routes that need no token.
pub(crate) fn open() -> Vec<Endpoint> {
    vec![
        Endpoint::at("/healthz").on(Method::GET, web::to(health::healthz)),
        Endpoint::at("/readyz").on(Method::GET, web::to(health::readyz)),
        Endpoint::at("/metrics").on(Method::GET, web::to(metrics::metrics)),
        Endpoint::at("/openapi.json").on(Method::GET, web::to(openapi::openapi_json)),
        Endpoint::at("/docs").on(Method::GET, web::to(openapi::docs_root)),
        Endpoint::at("/docs/{file:.*}").on(Method::GET, web::to(openapi::docs)),
    ]
}

/// Routes below [`API`].
pub(crate) fn api() -> Vec<Endpoint> {
    let steered = |path| {
        Endpoint::at(path)
            .on(Method::GET, web::to(sections::get))
            .on(Method::PUT, web::to(sections::put))
            .on(Method::PATCH, web::to(sections::patch))
            .on(Method::DELETE, web::to(sections::delete))
    };
    let read = |path| Endpoint::at(path).on(Method::GET, web::to(sections::get));
    vec![
        Endpoint::at("/twins").on(Method::GET, web::to(twins::list)),
        Endpoint::at("/twins:batchUpdate").on(Method::POST, web::to(batch::update)),
        Endpoint::at("/twins/{id}")
            .on(Method::GET, web::to(twins::get))
            .on(Method::PUT, web::to(twins::put))
            .on(Method::PATCH, web::to(twins::patch))
            .on(Method::DELETE, web::to(twins::delete)),
        steered("/twins/{id}/tags"),
        steered("/twins/{id}/tags/{pointer:.*}"),
        steered("/twins/{id}/desired"),
        steered("/twins/{id}/desired/{pointer:.*}"),
        read("/twins/{id}/reported"),
        read("/twins/{id}/reported/{pointer:.*}"),
        Endpoint::at("/twins/{id}/delta").on(Method::GET, web::to(delta::get)),
        Endpoint::at("/twins/{id}/methods/{name}").on(Method::POST, web::to(methods::call)),
        Endpoint::at("/twins/{id}/events").on(Method::GET, web::to(events::of_twin)),
        Endpoint::at("/events").on(Method::GET, web::to(events::all)),
        Endpoint::at("/sites").on(Method::GET, web::to(sites::list)),
        Endpoint::at("/sites/{id}").on(Method::GET, web::to(sites::get)).on(Method::PUT, web::to(sites::put)),
        Endpoint::at("/sites/{id}/gateways").on(Method::POST, web::to(gateways::post)),
        Endpoint::at("/sites/{id}/gateways/{name}").on(Method::DELETE, web::to(gateways::delete)),
        Endpoint::at("/nodes").on(Method::GET, web::to(nodes::list)),
        Endpoint::at("/backup").on(Method::POST, web::to(backup::post)),
    ]
}

/// Where the routes of [`api`] are.
pub(crate) const API: &str = "/api/v1";

/// Adds endpoints to an app or scope.
pub(crate) fn mount(config: &mut ServiceConfig, endpoints: Vec<Endpoint>) {
    for endpoint in endpoints {
        config.service(endpoint.resource());
    }
}

/// What is answered where no route is.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    let detail = format!("there is nothing at {}; GET /openapi.json lists what there is", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "route-not-found", detail).response()
}
