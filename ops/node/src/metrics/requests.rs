//! Requests of the REST, by route template: never by path, whose labels would be without bound.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: Arc<str>,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: Arc<str>,
}

/// Upper bounds of the latency's buckets, in seconds.
const LATENCY_BUCKETS_S: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

#[derive(Clone, Debug)]
pub(crate) struct RequestMetrics {
    requests: Family<RequestLabels, Counter>,
    latency: Family<RouteLabels, Histogram>,
}

impl RequestMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let latency = Family::new_with_constructor((|| Histogram::new(LATENCY_BUCKETS_S)) as fn() -> Histogram);
        registry.register(
            "twinmesh_http_requests",
            "Requests answered, by method, route template and status",
            requests.clone(),
        );
        registry.register(
            "twinmesh_http_request_duration_seconds",
            "Time from a request's head to the head of its answer, by method and route template",
            latency.clone(),
        );
        Self { requests, latency }
    }
}

/// The figures of one route, as one thread counts them: each is looked for by its labels once.
pub(crate) struct RouteMetrics {
    all: RequestMetrics,
    route: Arc<str>,
    found: RefCell<Vec<Found>>,
}

struct Found {
    method: &'static str,
    status: u16,
    requests: Counter,
    latency: Histogram,
}

impl RouteMetrics {
    /// Of the route of this template. Nothing is shown of it before there is a request.
    pub(crate) fn new(all: &RequestMetrics, route: &str) -> Self {
        Self { all: all.clone(), route: route.into(), found: RefCell::default() }
    }

    /// The template.
    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// One request was answered. Routes are templates and statuses are ours, so both are few; methods are anything a client
    /// says, so unknown ones share a label.
    pub(crate) fn observe(&self, method: &str, status: u16, took: Duration) {
        let method = ["GET", "PUT", "PATCH", "DELETE", "POST", "HEAD", "OPTIONS"]
            .into_iter()
            .find(|known| *known == method)
            .unwrap_or("other");
        let mut found = self.found.borrow_mut();
        let at = found.iter().position(|found| found.method == method && found.status == status);
        let at = at.unwrap_or_else(|| {
            let (all, route) = (&self.all, &self.route);
            let requests =
                all.requests.get_or_create_owned(&RequestLabels { method, route: Arc::clone(route), status });
            let latency = all.latency.get_or_create_owned(&RouteLabels { method, route: Arc::clone(route) });
            found.push(Found { method, status, requests, latency });
            found.len() - 1
        });
        if let Some(Found { requests, latency, .. }) = found.get(at) {
            requests.inc();
            latency.observe(took.as_secs_f64());
        }
    }
}
