//! Around every request: a span that continues the caller's trace, and the request metrics.

use std::sync::Arc;

use actix_web::HttpMessage as _;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
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

/// Which route a request went to, as a template: noted by the route, as finding it anew costs as much as routing did.
#[derive(Clone)]
pub(crate) struct RouteTemplate(Arc<str>);

impl RouteTemplate {
    /// Of the pattern that the route has.
    pub(crate) fn of(pattern: &str) -> Self {
        Self(pattern.replace(":.*}", "}").into())
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Measures and traces one request. Named by route template, never by the path: ids would make labels without bound.
pub(crate) async fn observe<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, actix_web::Error> {
    let method = request.method().clone();
    let span = tracing::info_span!(
        "rest",
        method = method.as_str(),
        route = tracing::field::Empty,
        status = tracing::field::Empty
    );
    if request.headers().contains_key(&TRACEPARENT) {
        join(&span, &TraceContextPropagator::new().extract(&Headers(request.headers())));
    }
    let Some(rest) = request.app_data::<Data<Rest>>().cloned() else { return next.call(request).await };
    let begun = rest.clock.monotonic();
    let mut response = next.call(request).instrument(span.clone()).await;
    let took = rest.clock.monotonic().saturating_sub(begun);
    if let Ok(response) = &mut response {
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let noted = response.request().extensions().get::<RouteTemplate>().cloned();
        let RouteTemplate(route) = noted
            .unwrap_or_else(|| RouteTemplate::of(response.request().match_pattern().as_deref().unwrap_or("unmatched")));
        let status = response.status().as_u16();
        span.record("route", &*route).record("status", status);
        tracing::debug!(parent: &span, took_us = took.as_micros() as u64, "answered");
        rest.metrics.requests.observe(method.as_str(), route, status, took);
    }
    response
}
