//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use twin_cluster::PlantedBug;

/// Measures Twinmesh, and kills it to see what it loses.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Kills node and gateways at random moments under load and counts what is missing, doubled or goes back
    Audit(AuditArgs),
    /// Everything that is measured, beside the raw limits of the machine and what a user would run instead
    All(AllArgs),
    /// Half of what a node can do for a long while, with clients coming and going: does its memory stay flat?
    Soak(SoakArgs),
    /// The scenarios of `all`
    List,
    /// Time until a node is ready, and its memory when idle
    Idle(IdleArgs),
    /// A node in this process, for the other subcommands
    #[command(hide = true)]
    Node(NodeArgs),
    /// A gateway in this process, for the audit
    #[command(hide = true)]
    GatewayWorker(WorkerArgs),
    /// actix-web serving a file's bytes from memory, as a baseline
    #[command(hide = true)]
    ActixBaseline {
        /// What it serves
        body: PathBuf,
    },
}

/// Whom the audit kills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    Node,
    Gateway,
    Both,
}

/// A bug that the node is given, to show that the audit finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    AckBeforeCommit,
}

impl Plant {
    /// As the command line says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
        }
    }
}

impl From<Plant> for PlantedBug {
    fn from(plant: Plant) -> Self {
        match plant {
            Plant::AckBeforeCommit => Self::AckBeforeCommit,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    /// How often to kill
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) kills: u32,
    /// Spread the kills over at least this long; none: as fast as it recovers
    #[arg(long, value_name = "S")]
    pub(crate) seconds: Option<f64>,
    /// Decides whom is killed when; none: a new one, which is printed
    #[arg(long, value_name = "X")]
    pub(crate) seed: Option<u64>,
    /// Whom to kill
    #[arg(long, value_enum, default_value_t = Who::Both)]
    pub(crate) who: Who,
    /// Give the node a bug that the audit must find
    #[arg(long, value_enum, value_name = "BUG")]
    pub(crate) plant: Option<Plant>,
    /// Gateways, each a process
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) gateways: u32,
    /// Devices of each gateway
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) devices: u32,
    /// Where the data directories go; none: a temporary directory, kept if something is wrong
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// How much `all` measures.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Size {
    /// At most 5 minutes
    #[arg(long)]
    pub(crate) quick: bool,
    /// At most 30 minutes
    #[arg(long)]
    pub(crate) full: bool,
    /// A moment: shows that it works, and nothing else
    #[arg(long, hide = true)]
    pub(crate) tiny: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AllArgs {
    #[command(flatten)]
    pub(crate) size: Size,
    /// Only these scenarios, as `list` names them
    #[arg(long, value_name = "W1,W2", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// Without Redis, NATS, etcd and mosquitto
    #[arg(long)]
    pub(crate) no_peers: bool,
    /// W2 takes shares of this many updates a second where W1 is not run: builds can be compared under the same load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) w1_per_s: Option<u32>,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the plots into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) svg_dir: Option<PathBuf>,
    /// Where the data directories go; none: a temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct IdleArgs {
    /// Starts to take the median of
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) starts: u32,
    /// Twins that the node has when it is killed and started again
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) twins: u32,
    /// Write the figures to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where the data directories go; none: a temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Measure this `twind` rather than the node in this binary
    #[arg(long, value_name = "FILE")]
    pub(crate) twind: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// How long; a sixth of it is warm-up
    #[arg(long, value_name = "N", default_value_t = 30.0, value_parser = positive)]
    pub(crate) minutes: f64,
    /// Reports a second; none: half of what a closed loop of the same gateways does first
    #[arg(long, value_name = "N", value_parser = positive)]
    pub(crate) rate: Option<f64>,
    /// Gateways that report
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) gateways: u32,
    /// Devices of each
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) devices: u32,
    /// More twins, that are used now and then
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(100..=10_000_000))]
    pub(crate) registered: u64,
    /// Let the node leak so much, to see that it is found
    #[arg(long, hide = true, value_name = "BYTES")]
    pub(crate) leak_bytes_per_s: Option<u64>,
    /// Write figures and curves to this file, too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the plots into this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) svg_dir: Option<PathBuf>,
    /// Where the data directory goes; none: a temporary directory
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err(format!("{text} is no number above 0")),
    }
}

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    #[arg(long)]
    pub(crate) data_dir: PathBuf,
    #[arg(long)]
    pub(crate) http: SocketAddr,
    #[arg(long)]
    pub(crate) quic: SocketAddr,
    #[arg(long, value_enum)]
    pub(crate) plant: Option<Plant>,
    /// Seals what is on the disk, with a key that everybody knows
    #[arg(long)]
    pub(crate) sealed: bool,
    #[arg(long)]
    pub(crate) leak_bytes_per_s: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    pub(crate) node: String,
    #[arg(long)]
    pub(crate) credentials: PathBuf,
    #[arg(long)]
    pub(crate) state_dir: PathBuf,
    #[arg(long)]
    pub(crate) journal: PathBuf,
    #[arg(long)]
    pub(crate) prefix: String,
    #[arg(long)]
    pub(crate) devices: u32,
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
    fn a_planted_bug_is_named_as_the_command_line_takes_it() {
        let plant = Plant::AckBeforeCommit;
        assert_eq!(plant.to_possible_value().unwrap().get_name(), plant.name());
    }
}
