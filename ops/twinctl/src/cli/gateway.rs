//! `twinctl gateway ...`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::time::seconds;

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
