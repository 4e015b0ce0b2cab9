//! `twinctl backup` and `twinctl backup-fetch`.

use std::path::PathBuf;

use clap::Args;

use crate::store::{Location, Target};

/// `twinctl backup`
#[derive(Args, Debug)]
pub(crate) struct Backup {
    /// Directory to put it in; made if absent. The file gets a name of its own and mode 0600. Or s3://bucket/prefix, where it becomes
    /// one object; who and where is read from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
    /// Without keys a cloud's metadata service is asked only if AWS_EC2_METADATA_DISABLED is false.
    #[arg(value_name = "DIR|S3")]
    pub(crate) target: Target,
    /// Leave out the CA and its key. A node restored from it starts once its `ca.pem` and `ca.key` are put into its directory, as gateways
    /// trust no other, or with `twind dev --new-ca`.
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
