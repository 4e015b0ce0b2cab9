//! Where a run keeps its files.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tempfile::TempDir;

/// A directory of one run: removed at the end unless it was named by the user or is kept.
pub(crate) struct Scratch {
    temporary: Option<TempDir>,
    path: PathBuf,
}

impl Scratch {
    /// A new directory below the given one, or below the system's temporary one.
    pub(crate) fn new(below: Option<&Path>) -> anyhow::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("twinmesh-load-");
        let temporary = match below {
            Some(below) => {
                std::fs::create_dir_all(below).with_context(|| format!("cannot make {}", below.display()))?;
                builder.tempdir_in(below)
            }
            None => builder.tempdir(),
        };
        let temporary = temporary.context("cannot make a directory for this run")?;
        Ok(Self { path: temporary.path().to_owned(), temporary: Some(temporary) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the files for whoever looks into what went wrong.
    pub(crate) fn keep(&mut self) -> &Path {
        if let Some(temporary) = self.temporary.take() {
            let _ = temporary.keep();
        }
        &self.path
    }
}
