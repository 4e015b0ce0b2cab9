//! The command line as a whole: where to ask, and what.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::backup::{Backup, BackupFetch};
use super::gateway::Gateway;
use super::site::Site;
use super::token::Token;
use super::twin::Twin;

/// The command line of a Twinmesh operator, over the admin REST.
#[derive(Debug, Parser)]
#[command(
    name = "twinctl",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 refused by the server, \
    2 the command is wrong, 3 the node can't be reached."
)]
pub(crate) struct Cli {
    /// Where and how to ask.
    #[command(flatten)]
    pub(crate) connection: Connection,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where and how to ask.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The node's REST address: http://127.0.0.1:8080 (plain HTTP on loopback only) or https://host:port.
    #[arg(long, env = "TWINMESH_URL", value_name = "URL", global = true)]
    pub(crate) url: Option<String>,
    /// File that holds the admin token: `admin.token` in the node's data directory.
    #[arg(long, env = "TWINMESH_TOKEN_FILE", value_name = "FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// For https: PEM file of the CA to trust, `ca.pem` in the node's data directory.
    #[arg(long, env = "TWINMESH_CA", value_name = "FILE", global = true)]
    pub(crate) ca: Option<PathBuf>,
    /// Raw JSON, one document or item a line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Gateways of a site and their credentials.
    #[command(subcommand)]
    Gateway(Gateway),
    /// Twins: read, steer, follow.
    #[command(subcommand)]
    Twin(Twin),
    /// Sites and who may have a twin in them.
    #[command(subcommand)]
    Site(Site),
    /// Nodes of the cluster.
    #[command(subcommand)]
    Node(Node),
    /// Admin tokens: who may ask what.
    #[command(subcommand)]
    Token(Token),
    /// Who changed what, and who was turned away: the node's audit log, newest first.
    Audit {
        /// At most this many entries.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: u64,
        /// Only entries of this kind.
        #[arg(long)]
        kind: Option<AuditKind>,
        /// Only entries before this number.
        #[arg(long, value_name = "N")]
        before: Option<u64>,
    },
    /// Have the node read its certificate files again; open connections go on.
    ReloadCertificates,
    /// Write twins to a file or standard output, one JSON object a line. Goes on by itself after a broken connection.
    Export(ExportArgs),
    /// Make or replace twins from a file that `export` wrote, or one like it: tags and desired, never reported. Goes on by itself
    /// after a broken connection; done twice it changes nothing. Exits with 1 if an item is refused.
    Import {
        /// The file, or - for standard input.
        file: PathBuf,
    },
    /// Apply desired changes from a file, one `{"id", "desired", "tags", "ifMatch"}` a line, each a merge patch of its twin. Goes on by
    /// itself after a broken connection: items whose results were lost are sent again, which is harmless but for those with `ifMatch`,
    /// which are refused if they were done already. Exits with 1 if an item is refused.
    Apply {
        /// The file, or - for standard input.
        file: PathBuf,
    },
    /// Say what is wrong with a node, and what to do: a line for each thing looked at. Exits with 1 if something is wrong.
    Doctor,
    /// Take a backup of the node while it works, into a directory or an S3 bucket. `twind restore` makes a data directory of it.
    Backup(Backup),
    /// Fetch a backup from an S3 bucket and check it. `twind restore` makes a data directory of the file.
    BackupFetch(BackupFetch),
}

/// `twinctl export ...`
#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Only twins of this site.
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// Only twins whose ids begin so.
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// File to create; an existing file is never overwritten. Without it, standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Go on with a file that an export began (the same --site and --prefix).
    #[arg(long, requires = "out")]
    pub(crate) resume: bool,
}

/// Part of the audit log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditKind {
    /// Of sites, gateways, tokens.
    Changes,
    /// Of twins.
    Steering,
    /// Who was turned away.
    Security,
}

/// `twinctl node ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes and their Raft groups.
    Ls,
}
