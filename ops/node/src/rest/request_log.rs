//! Around every request: a span that continues the caller's trace, and the request metrics.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::middleware::Next;
use actix_web::web::Data;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Instrument as _;

use super::Rest;
use crate::telemetry::join;

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(actix_web::http::header::HeaderName::as_str).collect()
    }
}

/// Measures and traces one request. Named by route template, never by the path: ids would make labels without bound.
pub(crate) async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let method = request.method().as_str().to_owned();
    let span = tracing::info_span!("rest", method, route = tracing::field::Empty, status = tracing::field::Empty);
    if request.headers().contains_key("traceparent") {
        join(&span, &TraceContextPropagator::new().extract(&Headers(request.headers())));
    }
    let Some(rest) = request.app_data::<Data<Rest>>().cloned() else { return next.call(request).await };
    let begun = rest.clock.monotonic();
    let response = next.call(request).instrument(span.clone()).await;
    let took = rest.clock.monotonic().saturating_sub(begun);
    if let Ok(response) = &response {
        let route = response.request().match_pattern().unwrap_or_else(|| "unmatched".to_owned());
        let status = response.status().as_u16();
        span.record("route", &route).record("status", status);
        tracing::debug!(parent: &span, took_us = took.as_micros() as u64, "answered");
        rest.metrics.requests.observe(&method, &route, status, took);
    }
    response
}
