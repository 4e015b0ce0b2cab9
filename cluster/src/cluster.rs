//! The handle to a node's part of the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ring::rand::SecureRandom;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use twin_core::clock::Clock;
use twin_core::command::{Answer, Command};
use twin_core::document::TwinDocument;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, SiteId, TwinId};
use twin_core::limits::{ACTIVE_GRAINS_MAX, ADMITTED_BYTES_MAX, GRAIN_IDLE_AFTER};
use twin_core::numbers::{OwnerOrder, WallTime};
use twin_core::refusal::Refusal;
use twin_core::used_keys::UsedKeys;
use twin_storage::{Budgets, Storage};
use twin_transports::server::Submission;

use crate::admission::Admission;
use crate::cell::{Cell, owner_changed};
use crate::committer::PlantedBug;
use crate::directory::Directory;
use crate::event_ring::{EventId, Reset};
use crate::export::{self, ExportPage, ExportQuery};
use crate::followers::Follower;
use crate::gates::Gates;
use crate::gateways::Gateways;
use crate::grains::Grains;
use crate::group::Group;
use crate::keys::end_old_keys;
use crate::limits::{DISK_FULL_ANSWER_AFTER, PASSIVATION_INTERVAL};
use crate::methods::MethodCalls;
use crate::observers::{Observation, Observers};
use crate::rows::ClusterRow;
use crate::security::OnSecurityEvent;
use crate::sessions::Sessions;
use crate::site_removal::Removals;
use crate::stats::Counters;
use crate::summary::GatewaysSummary;
use crate::view::{ClusterStats, NodeView, TwinPage, TwinQuery};
use crate::{DIRECTORY, FIRST_CELL, listing};

/// Why a node's cluster part does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A Raft group does not start.
    #[error("group {group} does not start: {cause}")]
    Group {
        /// Its name.
        group: String,
        /// What it says.
        cause: String,
    },
    /// The rows of a new cluster could not be committed.
    #[error("the directory cannot be founded: {0}")]
    Founding(Refusal),
}

impl StartError {
    pub(crate) fn group(group: &str, cause: impl std::fmt::Display) -> Self {
        Self::Group { group: group.to_owned(), cause: cause.to_string() }
    }
}

/// How a node takes part.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Name of the node, for people.
    pub node_name: String,
    /// Where its REST listens, for people.
    pub http: Option<String>,
    /// Where its QUIC endpoint listens, for people.
    pub quic: Option<String>,
    /// Most grains active at once.
    pub active_grains_max: usize,
    /// Budget of bytes of commands under way.
    pub admitted_bytes_max: usize,
    /// A grain without a message for this long passivates.
    pub grain_idle_after: Duration,
    /// Random numbers for credentials.
    pub random: Arc<dyn SecureRandom + Send + Sync>,
    /// Hears of what should not happen where all is well.
    pub on_security_event: Option<OnSecurityEvent>,
    /// A deliberate bug, to show that the auditor finds it. Never set by the node's binary.
    #[doc(hidden)]
    pub planted: Option<PlantedBug>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            node_name: "node-1".into(),
            http: None,
            quic: None,
            active_grains_max: ACTIVE_GRAINS_MAX,
            admitted_bytes_max: ADMITTED_BYTES_MAX,
            grain_idle_after: GRAIN_IDLE_AFTER,
            random: Arc::new(ring::rand::SystemRandom::new()),
            on_security_event: None,
            planted: None,
        }
    }
}

pub(crate) struct Inner {
    pub(crate) options: ClusterOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) cell: Arc<Cell>,
    pub(crate) gateways: Gateways,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) methods: MethodCalls,
    pub(crate) gates: Arc<Gates>,
    pub(crate) removals: Removals,
    pub(crate) tasks: TaskTracker,
    /// Read-modify-write of sites' lists of devices is done by one at a time.
    pub(crate) listing_devices: tokio::sync::Mutex<()>,
    pub(crate) stop: CancellationToken,
    observers: Arc<Observers>,
    pub(crate) counters: Arc<Counters>,
    budgets: Arc<Budgets>,
    storage: Mutex<Option<Storage>>,
    groups: Mutex<Vec<Group>>,
    started_at: WallTime,
    /// The cell's life, see [`crate::recovery`]. Read at the start: only a restore changes it.
    lineage: AtomicU64,
}

/// The handle to a node's part of the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    pub(crate) inner: Arc<Inner>,
}

impl Cluster {
    /// Starts the directory and the cell on the current tokio runtime, and founds them in an empty storage.
    pub async fn start(storage: Storage, options: ClusterOptions, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let counters = Arc::<Counters>::default();
        let sessions = Arc::<Sessions>::default();
        let start = u64::from_be_bytes(first(&random_bytes(&*options.random)));
        let observers = Arc::new(Observers::new(sessions.clone(), clock.clone(), start));
        let runtime = tokio::runtime::Handle::current();
        let grains = Grains::new(options.active_grains_max, clock.clone(), counters.clone(), &runtime)
            .map_err(|error| StartError::group("cell", error))?;
        let (directory_files, cell_files) = (storage.group(DIRECTORY), storage.group(FIRST_CELL));
        let reader = |group| storage.reader().group(group).map_err(|error| StartError::group("storage", error));
        let cell = Cell::new(
            reader(FIRST_CELL)?,
            &runtime,
            grains,
            observers.clone(),
            Admission::new(options.admitted_bytes_max),
            storage.budgets(),
            counters.clone(),
        );
        let directory = Directory::new(reader(DIRECTORY)?, clock.clone());

        let directory_group = Group::start(
            directory_files,
            storage.budgets(),
            DIRECTORY,
            "directory".into(),
            directory.clone(),
            counters.clone(),
            None,
        );
        let cell_group = Group::start(
            cell_files,
            storage.budgets(),
            FIRST_CELL,
            format!("cell-{FIRST_CELL}"),
            cell.clone(),
            counters.clone(),
            options.planted,
        );
        let (directory_group, cell_group) = tokio::try_join!(directory_group, cell_group)?;

        let stop = CancellationToken::new();
        let inner = Arc::new(Inner {
            gateways: Gateways::new(cell.clone()),
            methods: MethodCalls::default(),
            gates: Arc::default(),
            removals: Removals::default(),
            tasks: TaskTracker::new(),
            listing_devices: tokio::sync::Mutex::default(),
            groups: Mutex::new(vec![directory_group, cell_group]),
            started_at: clock.wall(),
            options,
            clock,
            directory,
            cell,
            sessions,
            observers,
            counters,
            budgets: storage.budgets(),
            storage: Mutex::new(Some(storage)),
            stop,
            lineage: AtomicU64::default(),
        });
        inner.tasks.spawn(passivate_idle(inner.cell.clone(), inner.options.grain_idle_after, inner.stop.clone()));
        inner.tasks.spawn(end_old_keys(Arc::downgrade(&inner), inner.stop.clone()));
        let cluster = Self { inner };
        cluster.until_leading().await;
        let random = cluster.inner.options.random.clone();
        let found = || cluster.inner.directory.found(&cluster.inner.options.node_name, || new_cluster(&*random));
        cluster.once_there_is_room(found).await.map_err(StartError::Founding)?;
        let lineage = cluster.inner.directory.cell().map_err(StartError::Founding)?.lineage;
        cluster.inner.lineage.store(lineage, Ordering::Relaxed);
        let resumed = cluster.clone();
        cluster.inner.tasks.spawn(async move { resumed.resume_removals().await });
        Ok(cluster)
    }

    /// Carries out what a start cannot do without, as often as the disk has no room for it: only people make room, and a start that gives
    /// up makes none. What it carries out looks first whether that was done.
    pub(crate) async fn once_there_is_room<W>(&self, work: impl Fn() -> W) -> Result<(), Refusal>
    where
        W: Future<Output = Result<(), Refusal>>,
    {
        let mut again = tokio::time::interval(DISK_FULL_ANSWER_AFTER);
        loop {
            again.tick().await;
            match work().await {
                Err(refusal) if refusal.retry_after().is_some() && self.inner.budgets.disk_pressure().is_some() => {
                    tracing::debug!(%refusal, "the start waits for room on the disk");
                }
                done => return done,
            }
        }
    }

    async fn until_leading(&self) {
        for mut ready in [self.inner.directory.readiness(), self.inner.cell.readiness()] {
            // The senders live as long as this handle.
            let _ = ready.wait_for(|ready| *ready).await;
        }
    }

    /// Resolves once a write would commit.
    pub async fn ready(&self) {
        self.until_leading().await;
    }

    /// Would a write commit now?
    pub fn is_ready(&self) -> bool {
        *self.inner.directory.readiness().borrow() && *self.inner.cell.readiness().borrow()
    }

    /// Lets a leader of a higher term, which does not exist, take the cell over for a moment: whatever is in flight is refused or
    /// unknown, the grains are thrown away, and this node must be elected again. For tests of just that.
    #[doc(hidden)]
    pub async fn usurp(&self) {
        let raft = self.inner.groups.lock().last().map(Group::raft);
        if let Some(raft) = raft {
            Group::usurp(&raft).await;
        }
    }

    /// Lets entries in flight finish, stops the groups and writes a last checkpoint.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        // What waits for room on the disk was answered so, and may fail now: nothing of it was acknowledged.
        if let Some(storage) = &*self.inner.storage.lock() {
            storage.give_up_waiting();
        }
        let groups = std::mem::take(&mut *self.inner.groups.lock());
        for group in groups {
            group.shutdown().await;
        }
        let Some(storage) = self.inner.storage.lock().take() else { return };
        match tokio::task::spawn_blocking(move || storage.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the last checkpoint was not written; the log has everything"),
            Err(error) => tracing::error!(%error, "the storage did not shut down"),
        }
    }

    /// Carries out a command on a twin. The answer is committed, or a linearizable read. `bytes` is what the command weighs
    /// for admission: its encoded size.
    pub async fn call(&self, twin: &TwinId, command: Command, bytes: usize) -> Result<Answer, Refusal> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let reply = Reply::once(move |answer| {
            // The caller may have gone; the command is carried out all the same.
            let _ = sender.send(answer);
        });
        self.submit(twin, command, bytes, reply);
        receiver.await.unwrap_or_else(|_| Err(owner_changed()))
    }

    /// As [`Cluster::call`], for whoever has many commands under way: `reply` is called once with the answer, maybe before this
    /// returns, on whichever thread has it. Commands for one twin are carried out in the order of the calls.
    ///
    /// [`Refusal::Busy`] comes before this returns, and then nothing was done.
    pub fn submit(&self, twin: &TwinId, command: Command, bytes: usize, reply: Reply) {
        if let Some(reply) = self.inside_its_site(&command, reply) {
            self.inner.cell.submit(twin, command, bytes, reply);
        }
    }

    /// Gives many commands to their twins at once, in their order, at less cost: as [`Cluster::submit`] for each.
    pub fn submit_all(&self, mut batch: Vec<Submission>) {
        if batch.iter().any(|submission| submission.command.names_site().is_some()) {
            let inside = |submission: Submission| {
                let Submission { twin, command, bytes, reply } = submission;
                let reply = self.inside_its_site(&command, reply)?;
                Some(Submission { twin, command, bytes, reply })
            };
            batch = batch.into_iter().filter_map(inside).collect();
        }
        self.inner.cell.submit_all(batch);
    }

    /// A command that puts a twin into a site stays inside the site's gate until it is answered. `None`: it may not go in, and its
    /// answer has been told.
    fn inside_its_site(&self, command: &Command, reply: Reply) -> Option<Reply> {
        let Some(site) = command.names_site() else { return Some(reply) };
        let inside = self.inner.gates.enter(site);
        match inside.and_then(|inside| self.inner.directory.open_site(site).map(|_| inside)) {
            Ok(inside) => Some(inside.until_answered(reply)),
            Err(refusal) => {
                reply.send(Err(refusal));
                None
            }
        }
    }

    /// Resolves once all changes of twins that were given before the call are committed: how long that takes is what another change
    /// would wait for.
    pub async fn committed(&self) -> Result<(), Refusal> {
        self.inner.cell.confirm().await
    }

    /// Twins by site and id, page by page.
    pub async fn list_twins(&self, query: TwinQuery) -> Result<TwinPage, Refusal> {
        if let Some(site) = &query.site
            && self.inner.directory.site(site)?.is_none()
        {
            return Err(Refusal::SiteNotFound { site: site.clone() });
        }
        self.inner.cell.confirm_committed().await?;
        let cell = self.inner.cell.clone();
        tokio::task::spawn_blocking(move || listing::page(&cell, &query)).await.unwrap_or_else(|_| Err(owner_changed()))
    }

    /// The first page of an export: twins by site and id, as the back office is shown them. A linearizable reading.
    pub async fn export(&self, query: ExportQuery) -> Result<ExportPage, Refusal> {
        self.inner.cell.confirm_committed().await?;
        self.export_on(query).await
    }

    /// A further page. It needs no reading of who leads: what is applied here never goes back behind the first page, so what is
    /// read now was committed when that was asked for, or later.
    pub async fn export_on(&self, query: ExportQuery) -> Result<ExportPage, Refusal> {
        let cell = self.inner.cell.clone();
        tokio::task::spawn_blocking(move || export::page(&cell, &query)).await.unwrap_or_else(|_| Err(owner_changed()))
    }

    /// Is the device's gateway connected, and the device attached through it?
    pub fn is_connected(&self, document: &TwinDocument) -> bool {
        document.gateway.as_ref().is_some_and(|gateway| self.is_gateway_connected(gateway))
    }

    /// Has the gateway a session now?
    pub fn is_gateway_connected(&self, gateway: &GatewayId) -> bool {
        self.inner.sessions.is_connected(gateway)
    }

    /// Watches all committed events: from now on, or from the event with an id on.
    pub fn observe(&self, after: Option<Result<EventId, Reset>>) -> Observation {
        self.inner.observers.observe(after)
    }

    /// Those who wait for something to happen to a twin.
    pub fn followers(&self) -> usize {
        self.inner.observers.followers().count()
    }

    /// Waits for something to happen to a twin. `None`: as many do so as may.
    pub fn follow(&self, twin: &TwinId) -> Option<Follower> {
        self.inner.observers.followers().follow(twin)
    }

    /// The nodes.
    #[allow(clippy::unused_async, reason = "several nodes will have to be asked")]
    pub async fn nodes(&self) -> Result<Vec<NodeView>, Refusal> {
        let leads = [*self.inner.directory.readiness().borrow(), *self.inner.cell.readiness().borrow()];
        let groups = self.inner.groups.lock().iter().zip(leads).map(|(group, leads)| group.view(leads)).collect();
        Ok(vec![NodeView {
            name: self.inner.options.node_name.clone(),
            role: "core".into(),
            http: self.inner.options.http.clone(),
            quic: self.inner.options.quic.clone(),
            started_at: self.inner.started_at,
            groups,
            gateways: self.gateways_summary(),
        }])
    }

    /// What the gateways with sessions here say of themselves, in sum.
    pub fn gateways_summary(&self) -> GatewaysSummary {
        self.inner.sessions.summary()
    }

    /// Counters and levels.
    pub fn stats(&self) -> ClusterStats {
        let counters = &self.inner.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        ClusterStats {
            grains_active: self.inner.cell.grains().active() as u64,
            activations: read(&counters.activations),
            passivations: read(&counters.passivations),
            commands: read(&counters.commands),
            commands_busy: read(&counters.commands_busy),
            alarms_busy: read(&counters.alarms_busy),
            entries: read(&counters.entries),
            entry_changes: read(&counters.entry_changes),
            entry_bytes: read(&counters.entry_bytes),
            entries_in_flight: read(&counters.entries_in_flight),
            poisonings: read(&counters.poisonings),
            admitted_bytes: self.inner.cell.admitted_bytes() as u64,
            sessions: self.inner.sessions.count() as u64,
            method_calls: read(&counters.method_calls),
        }
    }

    /// The life of the cell's data: one more with each restore.
    pub fn lineage(&self) -> u64 {
        self.inner.lineage.load(Ordering::Relaxed)
    }

    /// Position of this owner among all owners of a site's twins, which answers and downlinks carry.
    pub(crate) fn owner_order(&self, site: &SiteId) -> Result<OwnerOrder, Refusal> {
        let row = self.inner.directory.site(site)?.ok_or_else(|| Refusal::SiteNotFound { site: site.clone() })?;
        Ok(OwnerOrder { site_epoch: row.epoch, lineage: self.lineage(), term: self.inner.cell.term() })
    }
}

/// For names, not secrets: one can live with zeros in them.
fn random_bytes(random: &dyn SecureRandom) -> [u8; 24] {
    let mut bytes = [0; 24];
    if random.fill(&mut bytes).is_err() {
        tracing::warn!("the system gave no random numbers for names");
    }
    bytes
}

fn new_cluster(random: &dyn SecureRandom) -> ClusterRow {
    let bytes = random_bytes(random);
    let (cluster_id, product_key) = (u128::from_be_bytes(first(&bytes)), u64::from_be_bytes(first(&bytes[16..])));
    ClusterRow {
        cluster_id: format!("{cluster_id:032x}"),
        product_key: format!("pk-{product_key:016x}"),
        handed_over: None,
        site_epoch_floor: 0,
        token_keys: UsedKeys::default(),
    }
}

fn first<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or_default())
}

async fn passivate_idle(cell: Arc<Cell>, idle_after: Duration, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(PASSIVATION_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => cell.passivate_idle(idle_after),
        }
    }
}
