//! Ctrl-C and SIGTERM: the first stops gracefully, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_util::sync::CancellationToken;

/// 128 + SIGINT, as shells show it.
const EXIT_INTERRUPTED: u8 = 130;
/// 128 + SIGTERM.
const EXIT_TERMINATED: u8 = 143;

/// Listens for the signals that end a program.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt {
    stop: CancellationToken,
    exit_code: Arc<AtomicU8>,
}

impl Interrupt {
    /// Begins to listen. Call it within a tokio runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let this = Self { stop: CancellationToken::new(), exit_code: Arc::new(AtomicU8::new(EXIT_INTERRUPTED)) };
        let mut signals = Signals::new()?;
        let heard = this.clone();
        tokio::spawn(async move {
            heard.exit_code.store(signals.next().await, Ordering::Relaxed);
            heard.stop.cancel();
            // The state is kept at every moment, so leaving at once loses nothing.
            std::process::exit(i32::from(signals.next().await));
        });
        Ok(this)
    }

    /// Cancelled by the first signal.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The exit code that tells of the signal.
    pub(crate) fn exit_code(&self) -> u8 {
        self.exit_code.load(Ordering::Relaxed)
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => EXIT_INTERRUPTED,
            _ = self.terminate.recv() => EXIT_TERMINATED,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        // An error means that no signal will ever come.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        EXIT_INTERRUPTED
    }
}
