//! `twinctl twin ...`

use clap::{Args, Subcommand, ValueEnum};

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
