//! What is replayed, and to whom.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use twin_core::clock::Clock;
use twin_core::ids::SiteId;
use twin_gateway::{Credentials, TraceBatch};

use super::rate::Rate;

/// What is replayed, and to whom.
#[derive(Clone)]
pub struct ReplayOptions {
    /// The node, as `host:port`.
    pub cluster: String,
    /// Who reports.
    pub credentials: Credentials,
    /// The site that is meant; it must be the one of the credentials.
    pub site: SiteId,
    /// Folder of the outbox and the positions.
    pub state_dir: PathBuf,
    /// How fast.
    pub rate: Rate,
    /// Cap of the outbox.
    pub outbox_bytes_max: u64,
    /// The recordings.
    pub files: Vec<PathBuf>,
    /// Traces batches; see [`crate::traces`].
    pub trace_batch: Option<TraceBatch>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

/// Where the state lies unless it is said: beside the credentials, named after them.
pub fn state_dir_beside(credentials_file: &Path) -> PathBuf {
    let mut name = credentials_file.file_stem().unwrap_or(credentials_file.as_os_str()).to_owned();
    name.push(".replay");
    credentials_file.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_lies_beside_the_credentials_and_is_not_the_same_for_two_of_them() {
        assert_eq!(state_dir_beside(Path::new("/etc/gw-1.json")), Path::new("/etc/gw-1.replay"));
        assert_eq!(state_dir_beside(Path::new("gw-2.json")), Path::new("gw-2.replay"));
    }
}
