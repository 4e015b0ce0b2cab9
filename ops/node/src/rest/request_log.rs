//! Around every request: a span that continues the caller's trace, and the request metrics.

use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Instrument as _;
use tracing::field::Empty;

use super::Rest;
use crate::metrics::RouteMetrics;
use crate::telemetry::{READS, join};

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Measures and traces one request. Named by route template, never by the path: ids would make labels without bound.
///
/// A read has a span only where somebody wants it: one whose caller traces it, one while traces are exported (which want this target,
/// see [`crate::telemetry`]), or with `RUST_LOG` at debug. It would name a log line that a read never writes.
pub(crate) async fn observe<F: Future<Output = Result<ServiceResponse, actix_web::Error>>>(
    rest: &Rest,
    metrics: &RouteMetrics,
    request: ServiceRequest,
    answer: impl FnOnce(ServiceRequest) -> F,
) -> Result<ServiceResponse, actix_web::Error> {
    let method = request.method().clone();
    let span = if request.headers().contains_key(&TRACEPARENT) {
        let span = tracing::info_span!("rest", method = method.as_str(), route = metrics.route(), status = Empty);
        join(&span, &TraceContextPropagator::new().extract(&Headers(request.headers())));
        span
    } else if matches!(method, Method::GET | Method::HEAD) {
        tracing::debug_span!(target: READS, "rest", method = method.as_str(), route = metrics.route(), status = Empty)
    } else {
        tracing::info_span!("rest", method = method.as_str(), route = metrics.route(), status = Empty)
    };
    let begun = rest.clock.monotonic();
    let mut response = answer(request).instrument(span.clone()).await;
    let took = rest.clock.monotonic().saturating_sub(begun);
    if let Ok(response) = &mut response {
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let status = response.status().as_u16();
        span.record("status", status);
        tracing::debug!(parent: &span, took_us = took.as_micros() as u64, "answered");
        metrics.observe(method.as_str(), status, took);
    }
    response
}
