//! The command line.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use twin_node::telemetry::{FILTER_DEFAULT, SAMPLE_RATIO_DEFAULT, TelemetryOptions};

use crate::demo::DemoArgs;
use crate::state_key::StateKeyArgs;

/// The Twinmesh node: durable device twins for the gateways of a store.
#[derive(Debug, Parser)]
#[command(name = "twind", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs one node until it is told to stop
    Dev(DevArgs),
    /// Runs a node with a simulated store on it, and shows what happens
    Demo(DemoArgs),
    /// Asks the node on this machine whether it is ready; for containers
    Health(HealthArgs),
    /// Makes a data directory of a backup that `twinctl backup` took: the same twins, in a new lineage
    Restore(RestoreArgs),
}

/// Options of `twind restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The backup
    #[arg(long, value_name = "FILE")]
    pub(crate) from: PathBuf,
    /// Where the node is to be: an empty directory, or none
    #[arg(long, value_name = "DIR", env = "TWIND_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    pub(crate) data_dir: PathBuf,
    /// The lineage of what is restored. Above every one that gateways have met: where a backup as old as this one was restored before,
    /// one more than that restore said. [default: the one after the backup's]
    #[arg(long, value_name = "N")]
    pub(crate) lineage: Option<u64>,
    #[command(flatten)]
    pub(crate) state_key: StateKeyArgs,
}

/// Options of `twind health`: as they were given to `twind dev`.
#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The node's data directory, for its CA
    #[arg(long, value_name = "DIR", env = "TWIND_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    pub(crate) data_dir: PathBuf,
    /// Where the node's admin REST listens
    #[arg(long, value_name = "ADDR", env = "TWIND_HTTP", default_value = HTTP_DEFAULT, value_parser = address)]
    pub(crate) http: SocketAddr,
}

const DATA_DIR_DEFAULT: &str = "twinmesh-data";
const HTTP_DEFAULT: &str = "127.0.0.1:8080";

/// Options of `twind dev`.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Where everything durable is; made if absent
    #[arg(long, value_name = "DIR", env = "TWIND_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    pub(crate) data_dir: PathBuf,
    /// Begin with no state although the directory was a node's: its data files are lost and there is no backup. For one start
    #[arg(long)]
    pub(crate) begin_empty: bool,
    /// Make a new CA although the directory was a node's: its ca.pem and ca.key are lost. Every gateway then needs new credentials. For
    /// one start
    #[arg(long)]
    pub(crate) new_ca: bool,
    /// Where the admin REST listens; beyond loopback it is served over TLS
    #[arg(long, value_name = "ADDR", env = "TWIND_HTTP", default_value = HTTP_DEFAULT, value_parser = address)]
    pub(crate) http: SocketAddr,
    /// Where gateways connect
    #[arg(long, value_name = "ADDR", env = "TWIND_QUIC", default_value = "127.0.0.1:8443", value_parser = address)]
    pub(crate) quic: SocketAddr,
    /// Name of the node, for people
    #[arg(long, value_name = "NAME", default_value = "node-1")]
    pub(crate) node_name: String,
    /// One more name or address for the node's certificate; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Vec<String>,
    /// PEM file of the certificate (and its chain) that REST clients are shown, instead of one of the node's own CA. SIGHUP reads it again
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// PEM file of its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state_key: StateKeyArgs,
    #[command(flatten)]
    pub(crate) telemetry: TelemetryArgs,
}

/// Logs and traces.
#[derive(Debug, Args)]
pub(crate) struct TelemetryArgs {
    /// What to log to stderr, e.g. `info` or `warn,twin_cluster=debug`
    #[arg(long, value_name = "FILTER", env = "RUST_LOG", default_value = FILTER_DEFAULT)]
    log: String,
    /// How to log
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    /// OpenTelemetry collector (OTLP over HTTP) to export traces to, e.g. `http://127.0.0.1:4318`; none: off
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// Share of the traces begun at this node that are exported, 0 to 1
    #[arg(long, value_name = "RATIO", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = SAMPLE_RATIO_DEFAULT)]
    trace_ratio: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl From<TelemetryArgs> for TelemetryOptions {
    fn from(args: TelemetryArgs) -> Self {
        Self {
            filter: args.log,
            json: args.log_format == LogFormat::Json,
            otlp_endpoint: args.otlp_endpoint.filter(|endpoint| !endpoint.is_empty()),
            sample_ratio: args.trace_ratio,
        }
    }
}

/// An address with a port; names are looked up once.
fn address(text: &str) -> Result<SocketAddr, String> {
    let mut found = text.to_socket_addrs().map_err(|error| format!("{error}; it looks like 127.0.0.1:8080"))?;
    found.next().ok_or_else(|| format!("{text} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn addresses_need_a_port() {
        assert_eq!(address("127.0.0.1:80").unwrap(), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert!(address("127.0.0.1").is_err());
        assert!(address("").is_err());
    }
}
