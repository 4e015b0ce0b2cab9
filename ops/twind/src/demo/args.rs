//! Options of `twind demo`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use twin_node::telemetry::SAMPLE_RATIO_DEFAULT;

/// Most devices: what the gateways of one store serve.
const DEVICES_MAX: i64 = 20_000;
/// Most gateways.
const GATEWAYS_MAX: i64 = 100;

/// Options of `twind demo`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// Stop after this many seconds, with a summary; otherwise at Ctrl-C
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: Option<u64>,
    /// Keep everything in this directory, and go on from it the next time [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Gateways in the store
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=GATEWAYS_MAX))]
    pub(crate) gateways: u16,
    /// Devices in the store
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=DEVICES_MAX))]
    pub(crate) devices: u32,
    /// Reports per second of the whole store [default: one per device]
    #[arg(long, value_name = "REPORTS_PER_S", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,
    /// Where the admin REST listens [default: 127.0.0.1:8080, or any free port if that is taken]
    #[arg(long, value_name = "ADDR")]
    pub(crate) http: Option<SocketAddr>,
    /// Where gateways connect [default: any free port]
    #[arg(long, value_name = "ADDR")]
    pub(crate) quic: Option<SocketAddr>,
    /// Where the chance of devices and prices comes from
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    pub(crate) seed: u64,
    /// OpenTelemetry collector (OTLP over HTTP) to export traces to, e.g. `http://127.0.0.1:4318`; none: off
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(crate) otlp_endpoint: Option<String>,
    /// Share of the batches whose traces are exported, 0 to 1
    #[arg(long, value_name = "RATIO", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = SAMPLE_RATIO_DEFAULT)]
    pub(crate) trace_ratio: f64,
}
