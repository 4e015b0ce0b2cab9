//! The handle that an application holds.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use twin_core::alarm::Severity;
use twin_core::clock::{Clock, SystemClock};
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_core::view::TwinView;
use twin_transports::entropy::{Entropy, SystemEntropy};
use twin_transports::frames::health::{Health, HealthError};

use crate::core::admission::AppendError;
use crate::core::append::{Appended, Drafts};
use crate::core::attaching::TwinLink;
use crate::core::desired::DesiredChange;
use crate::core::{Core, Rules};
use crate::draft::{self, Report};
use crate::error::{GetError, OpenError, ReportError};
use crate::health::GatewayHealth;
use crate::limits::{
    FLASH_BYTES_PER_DAY_MIN, GET_TIMEOUT, OUTBOX_BYTES_MIN, READ_CALL_MAX, RETRY_AFTER_MAX, UNCOMMITTED_BYTES_MAX,
};
use crate::method::{MethodAnswer, MethodCall};
use crate::options::{Options, TraceBatch};
use crate::outbox::body::Body;
use crate::outbox::dead_letters::DeadLetter;
use crate::outbox::disk::{DirectoryDisk, OutboxDisk};
use crate::outbox::{file, writer};
use crate::readings::Viewed;
use crate::receipt::{Receipt, Receipts};
use crate::session::connect::Connector;
use crate::shared::Shared;
use crate::status::Status;
use crate::update::{Property, Update};

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

    /// Reports: a merge patch of the device's `reported` (null removes). Returns once it is durable: in the outbox, or with the
    /// node, whichever is first.
    ///
    /// While the disk is full it is refused with a time to try again ([`AppendError::NoRoom`]), unless the node's ack is all that it needs.
    /// What was taken before that waits for whichever comes first: the ack, or room.
    pub async fn report(&self, twin: &TwinId, patch: &serde_json::Value) -> Result<Receipt, ReportError> {
        self.report_value(twin, draft::value_of(patch)?).await
    }

    /// As [`Gateway::report`], for a value of ours.
    pub async fn report_value(&self, twin: &TwinId, patch: Value) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), patch)])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// As [`Gateway::report`], but at the cap of the outbox waits for room whatever the options say.
    pub async fn report_waiting(&self, twin: &TwinId, patch: &serde_json::Value) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), draft::value_of(patch)?)])?;
        self.append_one(drafts, true).await
    }

    /// Reports, and stores in the same commit how far the source is. The position must rise. It is sent only once it is
    /// durable, so that a source that goes on from [`Gateway::position`] has each row take effect once.
    pub async fn report_at(
        &self,
        twin: &TwinId,
        patch: &serde_json::Value,
        source: &str,
        position: u64,
    ) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), draft::value_of(patch)?).at(source, position)])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// Reports many, in this order, in one commit: all of them, or none. [`Gateway::report_all`] gives one receipt for all.
    pub async fn report_many(&self, reports: Vec<Report>) -> Result<Vec<Receipt>, ReportError> {
        Ok(self.report_all(reports).await?.into_iter().collect())
    }

    /// As [`Gateway::report_many`], with one receipt for all.
    pub async fn report_all(&self, reports: Vec<Report>) -> Result<Receipts, ReportError> {
        let drafts = self.drafted(reports)?;
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// Prepares a property of `reported` for [`Update`]s, by its JSON pointer.
    pub fn property(&self, pointer: &str) -> Result<Property, ReportError> {
        Property::new(pointer, &self.shared.dictionary)
    }

    /// Reports prepared properties: the cheapest way. Returns once it is durable, as [`Gateway::report`].
    pub async fn update(&self, update: Update) -> Result<Receipt, ReportError> {
        let drafts = self.updated([update])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// Reports prepared properties of many, in this order, in one commit: all of them, or none.
    pub async fn update_all(&self, updates: Vec<Update>) -> Result<Receipts, ReportError> {
        let drafts = self.updated(updates)?;
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// The last durable position of a source; `None`: none yet.
    pub fn position(&self, source: &str) -> Option<u64> {
        self.shared.core.lock().positions.get(source).copied()
    }

    /// Tells of an event. Events of a device are in order, and need no attach.
    pub async fn event(&self, twin: &TwinId, name: &str, payload: &serde_json::Value) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::event(name, draft::value_of(payload)?)?).await
    }

    /// Raises an alarm of a device: durable as a report, numbered and sent by itself, so that no backlog of state or events is before
    /// it, and with a share of every budget kept for it: a full outbox and a full node still take alarms. It is part of no document;
    /// observers hear of it, and the twin keeps the latest. The time is this gateway's; the payload has at most
    /// [`ALARM_PAYLOAD_BYTES_MAX`](twin_core::limits::ALARM_PAYLOAD_BYTES_MAX) bytes.
    pub async fn alarm(
        &self,
        twin: &TwinId,
        name: &str,
        severity: Severity,
        payload: &serde_json::Value,
    ) -> Result<Receipt, ReportError> {
        let raised_at = self.shared.clock.wall();
        self.append_body(twin, &draft::alarm(name, severity, raised_at, draft::value_of(payload)?)?).await
    }

    /// The device has taken over everything up to this version of `desired`.
    pub async fn ack_desired(&self, twin: &TwinId, version: Version) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::applied(version)).await
    }

    /// The devices have taken over everything up to these versions of `desired`: as [`Gateway::ack_desired`] for each, in one
    /// commit of the outbox. All of them, or none.
    pub async fn ack_desired_all(
        &self,
        applied: impl IntoIterator<Item = (TwinId, Version)>,
    ) -> Result<Receipts, ReportError> {
        let mut drafts = Drafts::default();
        for (twin, version) in applied {
            drafts.add(twin, &draft::applied(version), &self.shared.dictionary);
        }
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// The device rejects what this version of `desired` set at this path.
    pub async fn reject_desired(
        &self,
        twin: &TwinId,
        path: &Path,
        version: Version,
        reason: &str,
    ) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::rejected(path, version, reason)?).await
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

    /// A linearizable reading of a twin of the site. Readings that are asked for at the same time share frames; if the session
    /// ends before the answer, it is asked again in the next one.
    pub async fn get(&self, twin: &TwinId) -> Result<TwinView, GetError> {
        let viewed = self.viewed(vec![twin.clone()]).await?;
        // One was asked for.
        viewed.into_iter().next().ok_or(GetError::NotConnected)?.map_err(GetError::Refused)
    }

    /// As [`Gateway::get`] for many, in the order of the ids: each is read, or refused, by itself. Of more than
    /// [`READ_CALL_MAX`] the first are answered before the rest is asked.
    pub async fn read_all(&self, twins: &[TwinId]) -> Result<Vec<Result<TwinView, Refusal>>, GetError> {
        let mut all = Vec::new();
        for some in twins.chunks(READ_CALL_MAX) {
            let viewed = self.viewed(some.to_vec()).await?;
            if all.is_empty() {
                all = viewed;
            } else {
                all.extend(viewed);
            }
        }
        Ok(all)
    }

    async fn viewed(&self, twins: Vec<TwinId>) -> Result<Viewed, GetError> {
        let deadline = self.shared.clock.monotonic() + GET_TIMEOUT;
        let receiver = self.shared.readings.lock().ask(twins, deadline)?;
        self.shared.readings_wake.notify_one();
        tokio::select! {
            viewed = tokio::time::timeout(GET_TIMEOUT, receiver) => match viewed {
                Ok(viewed) => viewed.map_err(|_| GetError::NotConnected),
                Err(_) if self.shared.readings.lock().is_linked() => Err(GetError::TimedOut),
                Err(_) => Err(GetError::NotConnected),
            },
            () = self.shared.stop.cancelled() => Err(GetError::NotConnected),
        }
    }

    /// Desired changes of the devices attached here. Several receivers share them: each change goes to one.
    pub fn desired(&self) -> DesiredChanges {
        DesiredChanges { shared: Arc::clone(&self.shared) }
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

    fn drafted(
        &self,
        reports: impl IntoIterator<Item = Report, IntoIter: ExactSizeIterator>,
    ) -> Result<Drafts, ReportError> {
        let reports = reports.into_iter();
        let mut drafts = Drafts::with_capacity(reports.len());
        for report in reports {
            report.draft(&self.shared.dictionary, &mut drafts)?;
        }
        Ok(drafts)
    }

    fn updated(
        &self,
        updates: impl IntoIterator<Item = Update, IntoIter: ExactSizeIterator>,
    ) -> Result<Drafts, ReportError> {
        let updates = updates.into_iter();
        let mut drafts = Drafts::with_capacity(updates.len());
        let identity = self.shared.dictionary.read().identity();
        for update in updates {
            update.draft(identity, &mut drafts)?;
        }
        Ok(drafts)
    }

    async fn append_body(&self, twin: &TwinId, body: &Body) -> Result<Receipt, ReportError> {
        let drafts = Drafts::one(twin.clone(), body, &self.shared.dictionary);
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    async fn append_one(&self, drafts: Drafts, wait_at_cap: bool) -> Result<Receipt, ReportError> {
        // One draft gives one receipt.
        let receipts = self.append(drafts, wait_at_cap).await?;
        receipts.into_iter().next().ok_or(ReportError::Append(AppendError::ShutDown))
    }

    async fn append(&self, drafts: Drafts, wait_at_cap: bool) -> Result<Receipts, ReportError> {
        if drafts.items.is_empty() {
            // Nothing is queued, so no commit would come to wait for.
            return Ok(Receipts { shared: Arc::clone(&self.shared), stamped: Vec::new() });
        }
        let mut drafts = Some(drafts);
        let Appended { stamped, promises } = loop {
            let taken = self.shared.until(|core, now| {
                if core.writes.queued_bytes() > UNCOMMITTED_BYTES_MAX && core.failure().is_none() {
                    return None;
                }
                match core.append(drafts.take()?, now) {
                    Ok(appended) => Some(Ok(appended)),
                    Err((error @ AppendError::FlashBudget { .. }, back)) => {
                        drafts = Some(back);
                        Some(Err(error))
                    }
                    Err((AppendError::Full { .. } | AppendError::NoRoom { .. }, back)) if wait_at_cap => {
                        drafts = Some(back);
                        None
                    }
                    Err((error, _)) => Some(Err(error)),
                }
            });
            match taken.await {
                Ok(appended) => break appended,
                // Nothing but time brings that back, and nobody tells of it; an ack may make it needless.
                Err(AppendError::FlashBudget { retry_after_ms, .. }) if wait_at_cap => {
                    let until =
                        tokio::time::Instant::now() + Duration::from_millis(retry_after_ms).min(RETRY_AFTER_MAX);
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.shared.room_wake.notified() => {}
                        () = self.shared.stop.cancelled() => return Err(AppendError::ShutDown.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        promises.wait().await.map_err(|message| ReportError::NotDurable { message: message.to_string() })?;
        Ok(Receipts { shared: Arc::clone(&self.shared), stamped })
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").finish_non_exhaustive()
    }
}

/// Desired changes, as they come.
#[derive(Clone)]
pub struct DesiredChanges {
    shared: Arc<Shared>,
}

impl DesiredChanges {
    /// The next change; `None` once the gateway is shut down. What it returns counts as delivered.
    pub async fn recv(&self) -> Option<DesiredChange> {
        loop {
            if let Some(change) = self.try_recv() {
                return Some(change);
            }
            tokio::select! {
                () = self.shared.desired_wake.notified() => {}
                () = self.shared.stop.cancelled() => return None,
            }
        }
    }

    /// The next changes, as many as there are, up to `max`; none once the gateway is shut down. What it returns counts as
    /// delivered.
    pub async fn recv_many(&self, max: usize) -> Vec<DesiredChange> {
        loop {
            let changes = self.shared.with(|core, _| core.next_changes(max));
            if !changes.is_empty() || max == 0 {
                return changes;
            }
            tokio::select! {
                () = self.shared.desired_wake.notified() => {}
                () = self.shared.stop.cancelled() => return Vec::new(),
            }
        }
    }

    /// A change, if there is one.
    pub fn try_recv(&self) -> Option<DesiredChange> {
        self.shared.with(|core, _| core.next_change())
    }
}

impl std::fmt::Debug for DesiredChanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DesiredChanges").finish_non_exhaustive()
    }
}
