//! Where a run keeps its files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

/// The status of a program that a signal ended, as shells have it.
const ENDED_BY_SIGNAL: i32 = 130;
/// How often it is tried to remove a directory in which processes are still ending.
const REMOVALS: u32 = 20;

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

    /// Removes the files, too, when the run is interrupted or told to end: a directory of millions of twins takes gigabytes.
    pub(crate) fn remove_on_signal(&self) -> anyhow::Result<()> {
        let path = self.path.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _runtime = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            });
            eprintln!("interrupted: removing {}", path.display());
            for _ in 0..REMOVALS {
                match std::fs::remove_dir_all(&path) {
                    // A node that is still ending may put a file into it.
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    _ => break,
                }
            }
            // The nodes end when they notice that we are gone.
            std::process::exit(ENDED_BY_SIGNAL);
        });
        Ok(())
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
