//! Logs to stderr; spans to an OpenTelemetry collector, if one is configured.
//!
//! A trace goes gateway -> session -> grain -> commit: gateways send a `traceparent` with sampled batches, REST clients with
//! their requests. Whoever began a trace decides about sampling; the ratio here is for those that begin at this node.

use std::collections::HashMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::runtime::Tokio;
use opentelemetry_sdk::trace::span_processor_with_async_runtime::BatchSpanProcessor;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// What is logged unless configured. openraft tells at length what it does; its warnings at a start are no trouble. actix calls
/// each malformed request an error of the server's, of which anybody may send as many as they like.
pub const FILTER_DEFAULT: &str = "info,openraft=error,actix_server=warn,actix_http::h1::dispatcher=off";
/// Share of the traces begun here that are kept, unless configured.
pub const SAMPLE_RATIO_DEFAULT: f64 = 0.01;

/// Target of the spans of reads over REST: at debug, so that nobody pays for them where nothing is exported.
pub(crate) const READS: &str = "twin_node::reads";

/// What to log and where to export.
#[derive(Clone, Debug)]
pub struct TelemetryOptions {
    /// What to log, as `RUST_LOG` says it: `info`, or `warn,twin_cluster=debug`.
    pub filter: String,
    /// One JSON object a line rather than text.
    pub json: bool,
    /// Base address of an OTLP collector over HTTP, e.g. `http://127.0.0.1:4318`. None: nothing is exported.
    pub otlp_endpoint: Option<String>,
    /// Share of the traces begun here that are kept, 0 to 1.
    pub sample_ratio: f64,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self { filter: FILTER_DEFAULT.to_owned(), json: false, otlp_endpoint: None, sample_ratio: SAMPLE_RATIO_DEFAULT }
    }
}

/// Why telemetry does not start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter.
    #[error("{filter:?} is not a log filter ({cause}); it looks like `info` or `warn,twin_cluster=debug`")]
    Filter {
        /// As given.
        filter: String,
        /// What is wrong.
        cause: String,
    },
    /// The exporter.
    #[error("cannot export traces to {endpoint:?}: {cause}; the endpoint looks like http://127.0.0.1:4318")]
    Exporter {
        /// As given.
        endpoint: String,
        /// What is wrong.
        cause: String,
    },
    /// The ratio.
    #[error("a sample ratio is from 0 to 1, not {0}")]
    Ratio(f64),
    /// Something else logs in this process.
    #[error("logging was set up before in this process")]
    Twice,
}

/// Keeps telemetry up. Flush it at the end with [`Telemetry::shutdown`].
#[derive(Debug)]
#[must_use = "spans that were not sent are lost without shutdown"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces of the process. To be called on a tokio runtime if traces are exported.
pub fn start(options: &TelemetryOptions) -> Result<Telemetry, TelemetryError> {
    let filter = EnvFilter::try_new(&options.filter)
        .map_err(|cause| TelemetryError::Filter { filter: options.filter.clone(), cause: cause.to_string() })?;
    let provider = options.otlp_endpoint.as_deref().map(|endpoint| provider(endpoint, options)).transpose()?;
    let spans = provider.as_ref().map(|provider| {
        let tracer = provider.tracer("twinmesh");
        // Our spans only: those of libraries would cost more than they tell. Those of reads are for this alone.
        let ours = EnvFilter::new(
            "off,twin_node=info,twin_node::reads=debug,twin_cluster=info,twin_transports=info,twin_storage=info,twin_core=info,twin_gateway=info",
        );
        tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours)
    });
    let logs = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let logs = if options.json {
        logs.json().with_filter(filter).boxed()
    } else {
        // Without colours: they would need the subscriber's `ansi` feature, which panics at run time where it is missing.
        logs.with_ansi(false).with_filter(filter).boxed()
    };
    tracing_subscriber::registry().with(spans).with(logs).try_init().map_err(|_| TelemetryError::Twice)?;
    Ok(Telemetry { provider })
}

fn provider(endpoint: &str, options: &TelemetryOptions) -> Result<SdkTracerProvider, TelemetryError> {
    if !(0.0..=1.0).contains(&options.sample_ratio) {
        return Err(TelemetryError::Ratio(options.sample_ratio));
    }
    let exporter = SpanExporter::builder().with_http().with_endpoint(traces_url(endpoint)).build();
    let exporter = exporter
        .map_err(|cause| TelemetryError::Exporter { endpoint: endpoint.to_owned(), cause: cause.to_string() })?;
    let resource = Resource::builder()
        .with_service_name("twind")
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter, Tokio).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample_ratio))))
        .with_resource(resource)
        .build())
}

/// The address of the traces' signal under an OTLP base address.
fn traces_url(endpoint: &str) -> String {
    const PATH: &str = "/v1/traces";
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(PATH) { base.to_owned() } else { format!("{base}{PATH}") }
}

impl Telemetry {
    /// Sends the spans that are still here. Waits a few seconds at most.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        // Blocks until the exporter, which runs on this runtime, is done.
        let stopped = tokio::task::spawn_blocking(move || provider.shutdown()).await;
        if !matches!(stopped, Ok(Ok(()))) {
            tracing::warn!(?stopped, "some spans were not exported");
        }
    }
}

/// Makes `span` a part of the trace that a `traceparent` (W3C) names. Whoever hands in a malformed one gets a trace of its
/// own: trace contexts are never a reason to refuse anything.
pub fn continue_trace(span: &tracing::Span, traceparent: &str) {
    let carrier = HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]);
    join(span, &TraceContextPropagator::new().extract(&carrier));
}

/// See [`continue_trace`].
pub(crate) fn join(span: &tracing::Span, parent: &Context) {
    let remote = parent.span().span_context().clone();
    if remote.is_valid() && span.set_parent(parent.clone()).is_err() {
        // It has begun already, or nothing is exported at all; then the link goes nowhere.
        span.add_link(remote);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_be_a_base_or_the_traces_address() {
        assert_eq!(traces_url("http://h:4318"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h:4318/"), "http://h:4318/v1/traces");
        assert_eq!(traces_url("http://h/x/v1/traces"), "http://h/x/v1/traces");
    }

    #[test]
    fn a_malformed_trace_context_is_no_reason_to_fail() {
        for text in ["", "x", "00-zz-zz-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
            continue_trace(&tracing::Span::none(), text);
        }
    }
}
