//! `twinctl token ...`

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use super::time::seconds;
use crate::limits::TOKEN_LIFE_S_MAX;

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

/// A time as a token's life, which has bounds, in seconds.
fn life(text: &str) -> Result<u64, String> {
    match seconds(text)? {
        life @ 1..=TOKEN_LIFE_S_MAX => Ok(life),
        _ => Err(format!(
            "{text:?} is not from 1s to {}d; leave --expires-in out for a token that never ends",
            TOKEN_LIFE_S_MAX / 86_400
        )),
    }
}
