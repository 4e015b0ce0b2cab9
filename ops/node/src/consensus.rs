//! The thread of the Raft groups.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// A runtime with one thread, for the groups' replicas and committers alone.
///
/// A commit is handed on five times between their tasks. On the runtime that sessions and REST use each of these waits behind
/// whatever runs there, milliseconds of turns at a time; on a thread that does little else it waits for the disk only.
#[derive(Debug)]
pub(crate) struct ConsensusThread {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl ConsensusThread {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().thread_name("twin-raft").build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.runtime.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for ConsensusThread {
    fn drop(&mut self) {
        // Without waiting: it may be dropped by a task, and what runs here is shut down before or has no say any more.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
