//! `twinctl site ...`

use clap::{Subcommand, ValueEnum};

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
