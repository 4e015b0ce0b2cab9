//! Traces that begin at a gateway: a span for each sampled batch, from being sent to being acknowledged, exported over OTLP, and
//! its context for the node, whose spans become part of the same trace.
//!
//! Off unless the usual variables name a collector (`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; the
//! other `OTEL_` variables of the OTLP exporter over HTTP and of the resource hold as well). The gateway SDK knows nothing of
//! this but its hook, [`TraceBatch`].

use std::sync::Arc;

use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};
use twin_gateway::TraceBatch;

/// Share of the batches that are traced, unless configured.
pub const SAMPLE_RATIO_DEFAULT: f64 = 0.01;
/// Name of the service unless `OTEL_SERVICE_NAME` says another.
const SERVICE_NAME: &str = "twin-sim";
/// The variables that switch traces on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];

/// Why traces are not exported.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The exporter.
    #[error("cannot export traces as the OTEL_ variables say: {0}")]
    Exporter(#[from] opentelemetry_otlp::ExporterBuildError),
    /// The ratio.
    #[error("a sample ratio is from 0 to 1, not {0}")]
    Ratio(f64),
}

/// Exports spans. Flush it at the end with [`Traces::shutdown`].
#[derive(Debug)]
#[must_use = "spans that were not sent are lost without shutdown"]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// As the environment says; `None`: no collector is named. To be called on a tokio runtime.
    pub fn from_environment(sample_ratio: f64) -> Result<Option<Self>, TracesError> {
        let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if !ENDPOINTS.iter().any(is_set) {
            return Ok(None);
        }
        if !(0.0..=1.0).contains(&sample_ratio) {
            return Err(TracesError::Ratio(sample_ratio));
        }
        let exporter = SpanExporter::builder().with_http().build()?;
        let mut resource = Resource::builder();
        if !is_set(&"OTEL_SERVICE_NAME") {
            resource = resource.with_service_name(SERVICE_NAME);
        }
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio))))
            .with_resource(resource.build())
            .build();
        Ok(Some(Self { provider }))
    }

    /// Takes the gateway's spans.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let tracer = self.provider.tracer("twinmesh");
        tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_filter(EnvFilter::new("off,twin_gateway=info,twin_sim=info"))
    }

    /// Sends the spans that are still here. Waits a few seconds at most.
    pub async fn shutdown(self) {
        // Blocks until the exporter, which runs on this runtime, is done.
        let stopped = tokio::task::spawn_blocking(move || self.provider.shutdown()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!(?stopped, "some spans were not exported");
        }
    }
}

/// The hook of a gateway whose spans go to OpenTelemetry. Where they do not, it traces nothing.
pub fn trace_batch() -> TraceBatch {
    Arc::new(traceparent)
}

/// The W3C `traceparent` of a span that is sampled.
fn traceparent(span: &tracing::Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    (context.is_valid() && context.is_sampled()).then(|| format!("00-{}-{}-01", context.trace_id(), context.span_id()))
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    fn traceparent_at(sample_ratio: f64) -> Option<String> {
        let sampler = Sampler::TraceIdRatioBased(sample_ratio);
        let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
        let subscriber = tracing_subscriber::registry().with(Traces { provider }.layer());
        tracing::subscriber::with_default(subscriber, || {
            traceparent(&tracing::info_span!(target: "twin_gateway", "send"))
        })
    }

    #[test]
    fn a_sampled_span_has_a_traceparent_and_no_other_has() {
        let text = traceparent_at(1.0).unwrap();
        assert_eq!((text.len(), &text[..3], &text[52..]), (55, "00-", "-01"), "{text}");
        assert_eq!(traceparent_at(0.0), None);
        assert_eq!(traceparent(&tracing::Span::none()), None);
    }
}
