//! Where the demo keeps its things.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// The node's data directory: given, or temporary and gone at the end.
#[derive(Debug)]
pub(crate) struct Workplace {
    path: PathBuf,
    temporary: Option<TempDir>,
}

impl Workplace {
    pub(crate) fn new(given: Option<PathBuf>) -> anyhow::Result<Self> {
        if let Some(path) = given {
            // A command to be pasted elsewhere needs the whole path.
            let mut builder = std::fs::DirBuilder::new();
            // Tokens and secrets are to be in it.
            builder.recursive(true).mode(0o700);
            builder.create(&path).with_context(|| format!("cannot make {}", path.display()))?;
            let path = path.canonicalize().with_context(|| format!("cannot use {}", path.display()))?;
            return Ok(Self { path, temporary: None });
        }
        let temporary =
            tempfile::Builder::new().prefix("twinmesh-").tempdir().context("cannot make a temporary directory")?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Credentials and outboxes of the store's gateways.
    pub(crate) fn gateways(&self) -> PathBuf {
        self.path.join("gateways")
    }

    pub(crate) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Bytes of the node's files: log and state.
    pub(crate) fn storage_bytes(&self) -> (u64, u64) {
        let size = |name: &str| std::fs::metadata(self.path.join(name)).map_or(0, |metadata| metadata.len());
        (size("log.journal"), size("state.redb"))
    }
}

/// Memory of this process: node and store together. `None` where the system does not tell.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_given_directory_is_made_for_the_owner_only() {
        let parent = tempfile::tempdir().unwrap();
        let place = Workplace::new(Some(parent.path().join("a/b"))).unwrap();
        assert_eq!(std::fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
