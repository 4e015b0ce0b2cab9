//! The table of routes, each with the scope that it needs. [`dispatch`](super::dispatch) finds a request's in it.

use actix_web::Route;
use actix_web::http::Method;
use actix_web::web;
use twin_cluster::tokens::Scope;

use super::{
    alarms, audit, backup, batch, certificates, delta, devices, events, exports, gateways, health, methods, metrics,
    nodes, openapi, sections, sites, tokens, twins,
};

/// One path and what can be done there.
pub(crate) struct Endpoint {
    pub(crate) path: &'static str,
    pub(crate) routes: Vec<(Method, Route)>,
    pub(crate) reads: Scope,
    pub(crate) changes: Scope,
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
