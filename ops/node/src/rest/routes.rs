//! The table of routes, each with the scope that it needs. Whatever is not in it is 404; a method that a route lacks is 405 and told
//! which it has.

use actix_web::HttpMessage as _;
use actix_web::dev::ServiceRequest;
use actix_web::guard;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, Resource, Route};
use twin_cluster::tokens::Scope;

use super::guard::guard as scope_guard;
use super::problem::Problem;
use super::request_log::RouteTemplate;
use super::{
    alarms, audit, backup, batch, certificates, delta, devices, events, exports, gateways, health, methods, metrics,
    nodes, openapi, sections, sites, tokens, twins,
};

/// One path and what can be done there.
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) routes: Vec<(Method, Route)>,
    reads: Scope,
    changes: Scope,
}

impl Endpoint {
    /// **Invariant:** what nobody thought about needs the most: unless said otherwise, whatever is no GET needs scope `operate`.
    fn at(path: &'static str) -> Self {
        Self { path, routes: Vec::new(), reads: Scope::Read, changes: Scope::Operate }
    }

    /// Whatever is no GET needs only this scope.
    fn changed_by(mut self, scope: Scope) -> Self {
        self.changes = scope;
        self
    }

    /// A GET needs this scope, too.
    fn read_by(mut self, scope: Scope) -> Self {
        self.reads = scope;
        self
    }

    /// The scope that a method needs here.
    pub(crate) fn scope(&self, method: &Method) -> Scope {
        if matches!(*method, Method::GET | Method::HEAD) { self.reads } else { self.changes }
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

    /// Behind the check of scopes.
    fn guarded(mut self) -> Self {
        let path = self.path;
        let (reads, changes) = (self.reads, self.changes);
        let template = RouteTemplate::of(&format!("{API}{path}"));
        let routes = std::mem::take(&mut self.routes).into_iter().map(|(method, route)| {
            let scope = if method == Method::GET { reads } else { changes };
            let template = template.clone();
            let guarded = from_fn(move |request: ServiceRequest, next| {
                request.extensions_mut().insert(template.clone());
                scope_guard(scope, path, request, next)
            });
            (method, route.wrap(guarded))
        });
        self.routes = routes.collect();
        self
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
            .changed_by(Scope::Steer)
    };
    let read = |path| Endpoint::at(path).on(Method::GET, web::to(sections::get));
    vec![
        Endpoint::at("/twins").on(Method::GET, web::to(twins::list)),
        Endpoint::at("/twins:batchUpdate").on(Method::POST, web::to(batch::update)).changed_by(Scope::Steer),
        Endpoint::at("/twins:batchGet").on(Method::POST, web::to(batch::get)).changed_by(Scope::Read),
        Endpoint::at("/imports").on(Method::POST, web::to(batch::import)).changed_by(Scope::Steer),
        Endpoint::at("/exports").on(Method::GET, web::to(exports::get)),
        Endpoint::at("/twins/{id}")
            .on(Method::GET, web::to(twins::get))
            .on(Method::PUT, web::to(twins::put))
            .on(Method::PATCH, web::to(twins::patch))
            .on(Method::DELETE, web::to(twins::delete))
            .changed_by(Scope::Steer),
        steered("/twins/{id}/tags"),
        steered("/twins/{id}/tags/{pointer:.*}"),
        steered("/twins/{id}/desired"),
        steered("/twins/{id}/desired/{pointer:.*}"),
        read("/twins/{id}/reported"),
        read("/twins/{id}/reported/{pointer:.*}"),
        Endpoint::at("/twins/{id}/delta").on(Method::GET, web::to(delta::get)),
        Endpoint::at("/twins/{id}/alarms").on(Method::GET, web::to(alarms::get)),
        Endpoint::at("/twins/{id}/methods/{name}").on(Method::POST, web::to(methods::call)).changed_by(Scope::Steer),
        Endpoint::at("/twins/{id}/events").on(Method::GET, web::to(events::of_twin)),
        Endpoint::at("/events").on(Method::GET, web::to(events::all)),
        Endpoint::at("/sites").on(Method::GET, web::to(sites::list)),
        Endpoint::at("/sites/{id}")
            .on(Method::GET, web::to(sites::get))
            .on(Method::PUT, web::to(sites::put))
            .on(Method::DELETE, web::to(sites::delete)),
        Endpoint::at("/sites/{id}/gateways").on(Method::POST, web::to(gateways::post)),
        Endpoint::at("/sites/{id}/gateways/{name}").on(Method::DELETE, web::to(gateways::delete)),
        Endpoint::at("/sites/{id}/gateways/{name}/keys").on(Method::POST, web::to(gateways::rotate)),
        Endpoint::at("/sites/{id}/gateways/{name}/keys/old").on(Method::DELETE, web::to(gateways::end_old_key)),
        Endpoint::at("/sites/{id}/devices")
            .on(Method::GET, web::to(devices::list))
            .on(Method::POST, web::to(devices::post)),
        Endpoint::at("/certificates:reload").on(Method::POST, web::to(certificates::reload)),
        Endpoint::at("/nodes").on(Method::GET, web::to(nodes::list)).read_by(Scope::Operate),
        Endpoint::at("/tokens")
            .on(Method::GET, web::to(tokens::list))
            .on(Method::POST, web::to(tokens::post))
            .read_by(Scope::Operate),
        Endpoint::at("/tokens/{name}").on(Method::DELETE, web::to(tokens::delete)),
        Endpoint::at("/audit").on(Method::GET, web::to(audit::list)).read_by(Scope::Operate),
        Endpoint::at("/backup").on(Method::POST, web::to(backup::post)),
    ]
}

/// The scope that an operation needs, by the path that the description has for it.
pub(crate) fn scope_of(endpoints: &[Endpoint], path: &str, method: &Method) -> Option<Scope> {
    let path = path.strip_prefix(API)?;
    endpoints.iter().find(|endpoint| endpoint.path.replace(":.*}", "}") == path).map(|endpoint| endpoint.scope(method))
}

/// Where the routes of [`api`] are.
pub(crate) const API: &str = "/api/v1";

/// Adds endpoints to an app.
pub(crate) fn mount(config: &mut ServiceConfig, endpoints: Vec<Endpoint>) {
    for endpoint in endpoints {
        config.service(endpoint.resource());
    }
}

/// Adds endpoints to the scope behind the token.
pub(crate) fn mount_guarded(config: &mut ServiceConfig, endpoints: Vec<Endpoint>) {
    for endpoint in endpoints {
        config.service(endpoint.guarded().resource());
    }
}

/// What is answered where no route is.
pub(crate) async fn not_found(request: HttpRequest) -> HttpResponse {
    let detail = format!("there is nothing at {}; GET /openapi.json lists what there is", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, "route-not-found", detail).response()
}
