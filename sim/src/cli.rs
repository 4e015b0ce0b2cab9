//! The options.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use twin_core::clock::SystemClock;
use twin_core::ids::SiteId;
use twin_gateway::limits::{OUTBOX_BYTES_MAX_DEFAULT, OUTBOX_BYTES_MIN};
use twin_gateway::{Credentials, DeadLetterId};
use twin_sim::dead_letters::{Chosen, Task};
use twin_sim::replay::{Rate, ReplayOptions, state_dir_beside};
use twin_sim::traces::SAMPLE_RATIO_DEFAULT;

/// Simulated devices for Twinmesh, over the gateway SDK.
#[derive(Debug, Parser)]
#[command(version, about)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replay recordings: each CSV file is a device, each row one report.
    ///
    /// A file is the device named by its stem (`speed_6005.csv` is device `speed_6005`). Its first line names the columns; one of
    /// them is `timestamp`. Rows are reported in the file's order, the timestamp as the text that stands there, other cells as
    /// numbers; an empty cell leaves its property as it was. A cell that is no number, or a row of another length, is refused
    /// with file and line before anything is reported.
    ///
    /// Prints `rows=N acked=N` and exits 0 when the node has committed every row. If it is killed, start it again with the same
    /// options: it goes on where it was, and each row takes effect once. If the node is away, it waits.
    Replay(ReplayArgs),
    /// List, replay or discard the dead letters of a gateway that does not run: what the node refused for good.
    ///
    /// Works on the outbox in the gateway's state directory, without a node. What is replayed goes when the gateway runs again, as
    /// what its devices say then.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// One a line: id, device, class, what a replay can do (open, outdated, useless), code and message of the refusal
    List {
        #[command(flatten)]
        state: State,
        /// One JSON object a line, with what each says
        #[arg(long)]
        json: bool,
    },
    /// Say again what they said. State that a device has replaced since is `outdated`: it is replayed by its id only
    Replay {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        chosen: ChosenArgs,
    },
    /// Remove them for good
    Discard {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        chosen: ChosenArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct State {
    /// The gateway's state directory
    #[arg(long = "state", value_name = "DIR")]
    directory: PathBuf,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ChosenArgs {
    /// All of them
    #[arg(long)]
    all: bool,
    /// These
    #[arg(value_name = "ID")]
    ids: Vec<DeadLetterId>,
}

impl ChosenArgs {
    fn chosen(self) -> Chosen {
        if self.all { Chosen::All } else { Chosen::These(self.ids) }
    }
}

impl DeadLettersCommand {
    /// Where, and what.
    pub(crate) fn task(self) -> (PathBuf, Task) {
        match self {
            Self::List { state, json } => (state.directory, Task::List { json }),
            Self::Replay { state, chosen } => (state.directory, Task::Replay(chosen.chosen())),
            Self::Discard { state, chosen } => (state.directory, Task::Discard(chosen.chosen())),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The node's QUIC address
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    cluster: String,
    /// The gateway's credentials, from `twinctl gateway add`
    #[arg(long, value_name = "FILE")]
    credentials: PathBuf,
    /// The gateway's site; it must be that of the credentials
    #[arg(long, value_name = "SITE")]
    site: SiteId,
    /// Folder for the outbox and the positions in the files [default: CREDENTIALS.replay beside the credentials]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Rows per second over all files, or `max`: as fast as they are committed
    #[arg(long, value_name = "ROWS_PER_S | max", default_value_t = Rate::Max)]
    rate: Rate,
    /// Cap of the outbox; at it the replay waits
    #[arg(long, value_name = "BYTES", default_value_t = OUTBOX_BYTES_MAX_DEFAULT, value_parser = clap::value_parser!(u64).range(OUTBOX_BYTES_MIN..))]
    outbox_bytes: u64,
    /// Share of the batches whose traces are exported, 0 to 1, if OTEL_EXPORTER_OTLP_ENDPOINT names a collector
    #[arg(long, value_name = "RATIO", env = "OTEL_TRACES_SAMPLER_ARG", default_value_t = SAMPLE_RATIO_DEFAULT)]
    pub(crate) trace_ratio: f64,
    /// The recordings
    #[arg(value_name = "CSV", required = true)]
    files: Vec<PathBuf>,
}

impl ReplayArgs {
    /// Reads the credentials.
    pub(crate) fn options(self) -> anyhow::Result<ReplayOptions> {
        Ok(ReplayOptions {
            cluster: self.cluster,
            site: self.site,
            state_dir: self.state.unwrap_or_else(|| state_dir_beside(&self.credentials)),
            credentials: Credentials::load(&self.credentials)?,
            rate: self.rate,
            outbox_bytes_max: self.outbox_bytes,
            files: self.files,
            trace_batch: None,
            clock: Arc::new(SystemClock::new()),
        })
    }
}

fn address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
    match port {
        Some(Ok(port)) if port > 0 => Ok(text.to_owned()),
        _ => Err("give HOST:PORT, for example 127.0.0.1:7443".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn an_address_has_host_and_port() {
        for text in ["127.0.0.1:7443", "[::1]:7443", "node.example:1"] {
            assert!(address(text).is_ok(), "{text}");
        }
        for text in ["127.0.0.1", ":7443", "node:", "node:0", "node:70000", ""] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
