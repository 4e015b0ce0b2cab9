//! What can be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::limits::TOKEN_LIFE_S_MAX;
use crate::store::{Location, Target as BackupTarget};

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

/// `twinctl backup`
#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// Directory to put it in; made if absent. The file gets a name of its own and mode 0600. Or s3://bucket/prefix, where it becomes
    /// one object; who and where is read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
    #[arg(value_name = "DIR|S3")]
    pub(crate) target: BackupTarget,
    /// Leave out the CA's key. Gateways trust a restored node only if `ca.pem` and `ca.key` are put into its directory, too.
    #[arg(long)]
    pub(crate) without_keys: bool,
}

/// `twinctl backup-fetch`
#[derive(Args, Debug)]
pub(crate) struct BackupFetch {
    /// Which one, as `backup` said it: s3://bucket/prefix/twinmesh-....twinbackup. Who and where is read from the environment, as there.
    #[arg(value_name = "S3", value_parser = object)]
    pub(crate) from: Location,
    /// Directory to put it in; made if absent. The file has the object's name and mode 0600.
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

fn object(text: &str) -> Result<Location, String> {
    Location::read(text).unwrap_or_else(|| Err(format!("{text:?} is no object; it looks like s3://bucket/prefix/NAME")))
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

/// A gateway's own certificate in place of a secret.
#[derive(Args, Debug)]
pub(crate) struct GatewayCertificate {
    /// Register this certificate (PEM) instead of making a secret; the node keeps the SHA-256 of its public key.
    #[arg(long, value_name = "FILE")]
    pub(crate) certificate: Option<PathBuf>,
    /// Where the gateway finds the certificate, as seen from its credentials file; the name of --certificate unless given.
    #[arg(long, value_name = "PATH", requires = "certificate")]
    pub(crate) certificate_at: Option<PathBuf>,
    /// Where the gateway finds the certificate's private key, likewise; with the ending `.key` unless given. It is not read here.
    #[arg(long, value_name = "PATH", requires = "certificate")]
    pub(crate) key_at: Option<PathBuf>,
}

/// `twinctl gateway ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Gateway {
    /// Make a gateway's credentials. They are shown once, and only to the file.
    Add {
        /// Its site, which must exist.
        #[arg(long)]
        site: String,
        /// Its name within the site.
        #[arg(long)]
        name: String,
        /// File to create (mode 0600); an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        #[command(flatten)]
        certificate: GatewayCertificate,
    },
    /// Revoke a gateway's credentials; its session ends at once.
    Rm {
        /// Its site.
        #[arg(long)]
        site: String,
        /// Its name within the site.
        #[arg(long)]
        name: String,
    },
    /// List the gateways of a site: link, backlog, last seen.
    Ls {
        /// The site.
        #[arg(long)]
        site: String,
    },
    /// Make new credentials; the old ones work a while longer. They are shown once, and only to the file.
    Rotate {
        /// Its site.
        #[arg(long)]
        site: String,
        /// Its name within the site.
        #[arg(long)]
        name: String,
        /// File to create (mode 0600); an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// How long the old credentials still work: 90s, 30m, 12h, 7d; 0s ends them now.
        #[arg(long, value_name = "TIME", default_value = "1d", value_parser = seconds)]
        overlap: u64,
        #[command(flatten)]
        certificate: GatewayCertificate,
    },
    /// End the old credentials before their time; a session that was opened with them is closed.
    EndOldKey {
        /// Its site.
        #[arg(long)]
        site: String,
        /// Its name within the site.
        #[arg(long)]
        name: String,
    },
}

/// `twinctl token ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Token {
    /// Make a token. It is shown once, and only to the file, which then is a --token-file.
    Add {
        /// Its name, for people and the audit log.
        name: String,
        /// What it may do.
        #[arg(long)]
        scope: Scope,
        /// When it ends: 30m, 12h, 90d; never unless given.
        #[arg(long, value_name = "TIME", value_parser = life)]
        expires_in: Option<u64>,
        /// File to create (mode 0600); an existing file is never overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List the tokens: scope, made, ends.
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token: whoever shows it is refused from then on.
    Revoke {
        /// Its name.
        name: String,
    },
}

/// What a token may do; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    /// Look at twins and sites.
    Read,
    /// Also change twins and call their devices.
    Steer,
    /// Also change sites, gateways and tokens, and look at nodes and the audit log.
    Operate,
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

/// `90s`, `30m`, `12h`, `7d`, in seconds.
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let unit_s = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(format!("{text:?} is not a time; it looks like 90s, 30m, 12h or 7d")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("{text:?} is not a time; it looks like 90s, 30m, 12h or 7d"))?;
    number.checked_mul(unit_s).ok_or_else(|| format!("{text:?} is too long"))
}

/// The same for a token's life, which has bounds.
fn life(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        life @ 1..=TOKEN_LIFE_S_MAX => Ok(life),
        _ => Err(format!(
            "{text:?} is not from 1s to {}d; leave --expires-in out for a token that never ends",
            TOKEN_LIFE_S_MAX / 86_400
        )),
    }
}

/// `twinctl twin ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Twin {
    /// Show a twin, or a place in it.
    Get {
        #[command(flatten)]
        target: Target,
    },
    /// Register a twin or replace its tags and desired; with --at, replace one place.
    Put {
        #[command(flatten)]
        target: Target,
        /// JSON, or - for standard input, or @FILE.
        #[arg(default_value = "{}", allow_negative_numbers = true)]
        body: String,
        /// Site of a new twin (short for "site" in the body).
        #[arg(long, conflicts_with = "at")]
        site: Option<String>,
        #[command(flatten)]
        conditions: Conditions,
        #[command(flatten)]
        how: How,
    },
    /// Merge a patch (RFC 7396: null removes) into tags and desired, or into one place.
    Patch {
        #[command(flatten)]
        target: Target,
        /// JSON, or - for standard input, or @FILE.
        #[arg(allow_negative_numbers = true)]
        body: String,
        #[command(flatten)]
        conditions: Conditions,
        #[command(flatten)]
        how: How,
    },
    /// Delete a twin; with --at, one place.
    Delete {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Follow events, one line each, until interrupted: of a twin, of a site, or all.
    Watch {
        /// The twin.
        #[arg(conflicts_with_all = ["site", "prefix"])]
        id: Option<String>,
        /// All twins of this site.
        #[arg(long)]
        site: Option<String>,
        /// All twins whose id begins so.
        #[arg(long)]
        prefix: Option<String>,
        /// Only what concerns this place of a twin, e.g. `desired/price` or `reported`.
        #[arg(long, value_name = "PLACE")]
        at: Option<String>,
        /// End after this many events.
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// List twins.
    Ls {
        /// Only of this site.
        #[arg(long)]
        site: Option<String>,
        /// At most this many.
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
    },
    /// Call a method of the device. Sent at most once.
    Call {
        /// The twin.
        id: String,
        /// The method.
        method: String,
        /// JSON, or - for standard input, or @FILE.
        #[arg(default_value = "null", allow_negative_numbers = true)]
        payload: String,
        /// Longest wait for the device, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
        /// A name for this call, such as a UUID: however often it is sent there is one call, and a repeat hears its answer.
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
    },
}

/// A twin, or a place in it.
#[derive(Args, Debug)]
pub(crate) struct Target {
    /// The twin.
    pub(crate) id: String,
    /// A place in it: `desired`, `tags` or `reported`, and further down as in a JSON pointer, e.g. `desired/price`.
    #[arg(long, value_name = "PLACE")]
    pub(crate) at: Option<String>,
}

/// What must hold for a change.
#[derive(Args, Debug)]
pub(crate) struct Conditions {
    /// Change only if tags and desired are still as they were at this etag; * for any existing twin.
    #[arg(long, value_name = "ETAG")]
    pub(crate) if_match: Option<String>,
    /// * to change only what doesn't exist yet.
    #[arg(long, value_name = "ETAG", conflicts_with = "if_match")]
    pub(crate) if_none_match: Option<String>,
}

/// How a change is to be carried out.
#[derive(Args, Debug)]
pub(crate) struct How {
    /// A name for this change of this twin, such as a UUID: however often it is sent, it takes effect once.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// Wait until the device's gateway has the change, or the device follows or rejects it.
    #[arg(long, value_name = "GOAL")]
    pub(crate) wait: Option<Goal>,
    /// Longest wait for the device, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, requires = "wait", value_parser = clap::value_parser!(u64).range(1..=120))]
    pub(crate) timeout: u64,
}

/// What a change is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Goal {
    /// The device's gateway has it.
    Delivered,
    /// The device follows it, or rejects it.
    Applied,
}

/// `twinctl site ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Site {
    /// List the sites.
    Ls,
    /// Show a site and its gateways.
    Show {
        /// The site.
        id: String,
    },
    /// Create a site, or change it.
    Set {
        /// The site.
        id: String,
        /// Who may have a twin in it.
        #[arg(long)]
        enrolment: Enrolment,
        /// What becomes of two gateways with one credential: as it was unless given, of a new site replace.
        #[arg(long)]
        on_conflict: Option<OnConflict>,
    },
    /// The ids that may be attached where the site's enrolment is list.
    Devices {
        /// The site.
        id: String,
        /// File of ids to add, one a line; - for standard input.
        #[arg(long, value_name = "FILE")]
        add: Option<String>,
        /// File of ids to remove, one a line; - for standard input.
        #[arg(long, value_name = "FILE")]
        remove: Option<String>,
    },
    /// Delete a site.
    Rm {
        /// The site.
        id: String,
        /// Also delete all its twins and gateways. Nothing takes that back.
        #[arg(long)]
        cascade: bool,
    },
}

/// Who may have a twin in a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Enrolment {
    /// Any device: its first attach registers it.
    Open,
    /// Only devices that were registered with `twin put`.
    Registered,
    /// Also devices whose ids are on the site's list: see `site devices`.
    List,
}

/// What becomes of two gateways with one credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnConflict {
    /// The newer one is let in, and the older session ends.
    Replace,
    /// The newer one is refused while the older has a session.
    DenyNew,
}

/// `twinctl node ...`
#[derive(Debug, Subcommand)]
pub(crate) enum Node {
    /// List the nodes and their Raft groups.
    Ls,
}
