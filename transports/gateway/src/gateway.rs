//! The handle that an application holds: opening and ending it, and which devices it serves. [`reporting`] says what goes up,
//! [`reading`] asks for twins, [`desired`] is what comes down.

mod desired;
mod reading;
mod reporting;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twin_core::clock::{Clock, SystemClock};
use twin_core::ids::TwinId;
use twin_transports::entropy::{Entropy, SystemEntropy};
use twin_transports::frames::health::{Health, HealthError};

use crate::core::attaching::TwinLink;
use crate::core::{Core, Rules};
use crate::error::{OpenError, ReportError};
use crate::health::GatewayHealth;
use crate::limits::{FLASH_BYTES_PER_DAY_MIN, OUTBOX_BYTES_MIN};
use crate::method::{MethodAnswer, MethodCall};
use crate::options::{Options, TraceBatch};
use crate::outbox::dead_letters::DeadLetter;
use crate::outbox::disk::{DirectoryDisk, OutboxDisk};
use crate::outbox::{file, writer};
use crate::session::connect::Connector;
use crate::shared::Shared;
use crate::status::Status;

pub use desired::DesiredChanges;

/// A gateway. Cheap to clone; all clones are the same one.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
    running: Arc<Running>,
}

struct Running {
    wait_at_cap: bool,
    drain_timeout: Duration,
    session: Mutex<Option<tokio::task::JoinHandle<()>>>,
    writer: Mutex<Option<std::thread::JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// What of the options is not about the node.
struct Local {
    disk: Arc<dyn OutboxDisk>,
    rules: Rules,
    wait_at_cap: bool,
    drain_timeout: Duration,
    trace_batch: Option<TraceBatch>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // The last handle is gone: stop sending, write what is queued. Nobody waits for it here.
        self.shared.stop.cancel();
        self.shared.with(|core, _| {
            core.closing = true;
            core.close();
        });
    }
}

impl Gateway {
    /// Opens the outbox (its boot rises durably) and begins to connect. Works without the node: what is reported meanwhile
    /// waits in the outbox. Call it within a tokio runtime.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        if options.outbox_bytes_max < OUTBOX_BYTES_MIN {
            return Err(OpenError::Option {
                name: "outbox_bytes_max",
                value: options.outbox_bytes_max.to_string(),
                rule: format!("it must be at least {OUTBOX_BYTES_MIN}"),
            });
        }
        if let Some(bytes) = options.flash_bytes_per_day.filter(|bytes| *bytes < FLASH_BYTES_PER_DAY_MIN) {
            return Err(OpenError::Option {
                name: "flash_bytes_per_day",
                value: bytes.to_string(),
                rule: format!("it must be at least {FLASH_BYTES_PER_DAY_MIN}, or none"),
            });
        }
        let gateway = Self::begin(Local {
            disk: options.disk.clone().unwrap_or_else(|| Arc::new(DirectoryDisk::new(&options.state_dir))),
            rules: Rules {
                cap_bytes: options.outbox_bytes_max,
                coalesce: options.coalesce,
                send_before_durable: options.send_before_durable,
                patience_max: options.patience_max,
                flash_bytes_per_day: options.flash_bytes_per_day,
            },
            wait_at_cap: options.wait_at_cap,
            drain_timeout: options.drain_timeout,
            trace_batch: options.trace_batch.clone(),
            clock: Arc::clone(&options.clock),
            entropy: Arc::clone(&options.entropy),
        })?;
        let connector = Connector::new(options, Arc::clone(&gateway.shared))?;
        *gateway.running.session.lock() = Some(tokio::spawn(connector.run()));
        Ok(gateway)
    }

    /// Opens the outbox in this folder and connects to nobody: for tools of the gateway's owner while it does not run. What is replayed
    /// here goes when it runs again.
    pub fn open_outbox(state_dir: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::begin(Local {
            disk: Arc::new(DirectoryDisk::new(state_dir)),
            rules: Rules {
                // What the application's options allowed to be there is there.
                cap_bytes: 1 << 50,
                coalesce: false,
                send_before_durable: false,
                patience_max: Duration::ZERO,
                flash_bytes_per_day: None,
            },
            wait_at_cap: false,
            drain_timeout: Duration::ZERO,
            trace_batch: None,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy::new()),
        })
    }

    fn begin(local: Local) -> Result<Self, OpenError> {
        let Local { disk, rules, wait_at_cap, drain_timeout, trace_batch, clock, entropy } = local;
        let opened = file::open(&*disk, &*entropy)?;
        // From here on a write that finds no room waits for it.
        opened.space.be_patient();
        let seed = u64::from_be_bytes(twin_transports::entropy::random_array(&*entropy)?);
        let shared = Arc::new(Shared::new(Core::new(opened, rules, seed), clock, entropy, trace_batch));
        let writer = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("twin-outbox".into())
                .spawn(move || writer::run(&shared))
                .map_err(OpenError::Thread)?
        };
        let running = Arc::new(Running {
            wait_at_cap,
            drain_timeout,
            session: Mutex::new(None),
            writer: Mutex::new(Some(writer)),
            shared: Arc::clone(&shared),
        });
        Ok(Self { shared, running })
    }

    /// The gateway serves this device from now on, and has heard it. The node is told when there is a session; see
    /// [`Gateway::link`]. A report does it as well.
    pub fn attach(&self, twin: &TwinId) -> Result<(), ReportError> {
        Ok(self.shared.with(|core, now| core.attach(twin, now))?)
    }

    /// The gateway serves this device no more. What is in the outbox still goes.
    pub fn detach(&self, twin: &TwinId) {
        self.shared.with(|core, now| core.detach(twin, now));
    }

    /// How a device stands with the node.
    pub fn link(&self, twin: &TwinId) -> TwinLink {
        self.shared.core.lock().link(twin)
    }

    /// Sets the handler of a method, for all devices. A call is carried out at most once.
    pub fn on_method<F, Fut, A>(&self, name: &str, handler: F)
    where
        F: Fn(MethodCall) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A> + Send + 'static,
        A: Into<MethodAnswer>,
    {
        self.shared.methods.set(
            name,
            Arc::new(move |call| {
                let answer = handler(call);
                Box::pin(async move { answer.await.into() })
            }),
        );
    }

    /// Says how the box is: its uplink's signal, its battery. Operators see it after the next heartbeat, until it is said again; a value
    /// that none can have changes nothing.
    pub fn set_health(&self, health: GatewayHealth) -> Result<(), HealthError> {
        let mut checked = Health::default();
        health.put_into(&mut checked);
        checked.check()?;
        self.shared.core.lock().health = health;
        Ok(())
    }

    /// How the gateway is.
    pub fn status(&self) -> Status {
        self.shared.core.lock().status()
    }

    /// What all parts share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// What the node refused for good, oldest first. [`Gateway::dead_letter_page`] says how to name one, and what a replay can do.
    pub fn dead_letters(&self) -> Vec<Arc<DeadLetter>> {
        self.shared.core.lock().dead.list()
    }

    /// Waits until the outbox is empty: everything acked (or refused for good).
    pub async fn drained(&self) -> Result<(), ReportError> {
        self.shared.until(|core, _| if core.messages() == 0 { Some(Ok(())) } else { core.failure().map(Err) }).await
    }

    /// Takes no more messages, waits for the outbox to drain (as long as the options say), stops. What is left goes when the
    /// gateway is opened again. `true`: nothing is left.
    pub async fn shutdown(&self) -> bool {
        self.shared.with(|core, _| core.closing = true);
        let connected = self.shared.core.lock().session.is_some();
        let drained = connected
            && tokio::time::timeout(self.running.drain_timeout, self.drained())
                .await
                .is_ok_and(|drained| drained.is_ok());
        self.shared.stop.cancel();
        let session = self.running.session.lock().take();
        if let Some(session) = session {
            // It ends by the token; a panic in it was reported.
            drop(session.await);
        }
        self.shared.with(|core, _| core.close());
        let writer = self.running.writer.lock().take();
        if let Some(writer) = writer {
            drop(tokio::task::spawn_blocking(move || writer.join()).await);
        }
        drained || self.shared.core.lock().messages() == 0
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}
