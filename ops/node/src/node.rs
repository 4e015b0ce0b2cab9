//! The node: starts its parts in order, and stops them in the opposite one.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web::Data;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twin_cluster::Cluster;
use twin_cluster::security::{OnSecurityEvent, SecurityEvent};
use twin_core::clock::{Clock, SystemClock};
use twin_core::ids::SiteId;
use twin_core::refusal::Refusal;
use twin_storage::{
    Budgets, OpenedFiles, Openings, Options as StorageOptions, SealOptions, StorageFailure, StorageStats,
};
use twin_transports::server::{Server, ServerHandle, ServerOptions, TransportStats};
use twin_transports::tls::{AbsentCa, NodeCertificates, Reloaded};

use crate::audit::{Audit, Event, Watch};
use crate::error::NodeError;
use crate::identity;
use crate::limits::{AUDIT_WINDOW, BATCHES_MAX, EXPORTS_MAX, OBSERVERS_MAX, PROGRESS_RETRY};
use crate::metrics::{Metrics, Sources};
use crate::options::NodeOptions;
use crate::reload::{self, ReloadError};
use crate::rest::{Backups, Pace, Rest, RestServer, Serves, answering};
use crate::telemetry;
use crate::token::TokenFile;

/// A running node.
pub struct Node {
    cluster: Cluster,
    token: Option<TokenFile>,
    audit: Audit,
    watch: Watch,
    certificates: Arc<NodeCertificates>,
    http_url: String,
    quic: ServerHandle,
    rest: RestServer,
    closing: CancellationToken,
    budgets: Arc<Budgets>,
    failure: watch::Receiver<Option<StorageFailure>>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("http", &self.http_url).field("quic", &self.quic_addr()).finish_non_exhaustive()
    }
}

impl Node {
    /// Starts a node on the current tokio runtime. It serves when this returns; [`Node::ready`] says when a write would
    /// commit.
    pub async fn start(options: NodeOptions) -> Result<Self, NodeError> {
        let disk = StorageOptions::in_directory(&options.data_dir);
        let started = Box::pin(Self::start_all(options)).await;
        started.map_err(|error| {
            let needed_bytes = disk.first_start_bytes_left().unwrap_or(disk.disk_reserve_bytes);
            error.or_no_room(&*disk.disk, needed_bytes)
        })
    }

    async fn start_all(options: NodeOptions) -> Result<Self, NodeError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let started = clock.monotonic();
        let data_dir = options.data_dir.clone();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&data_dir)
            .map_err(|cause| NodeError::DataDir { path: data_dir.clone(), cause })?;
        let http_error = |cause| NodeError::Http { addr: options.http, cause };
        // Bound before anything is written: a second node on the same address fails here.
        let listener = TcpListener::bind(options.http).map_err(http_error)?;
        let http = listener.local_addr().map_err(http_error)?;

        // The files' lock comes before the token and the CA: two nodes on one directory must not both make them.
        let mut storage_options = StorageOptions::in_directory(&data_dir);
        let random = Arc::clone(&options.cluster.random);
        storage_options.seal = options.state_key.clone().map(|key| SealOptions { key, random });
        identity::check(&data_dir, &*storage_options.disk, options.begin_empty)?;
        first_start_fits(&data_dir, &storage_options)?;
        let (identity_dir, begin_empty) = (data_dir.clone(), options.begin_empty);
        let opening = tokio::task::spawn_blocking(move || {
            let mut files = OpenedFiles::open(storage_options)?;
            let id = identity::load_or_create(&identity_dir, begin_empty, files.node())?;
            files.claim(&id)?;
            let (openings, is_used) = (files.openings(), files.have_groups());
            Ok::<_, NodeError>((files.start()?, id, openings, is_used))
        });
        let (storage, id, openings, is_used) = opening.await??;
        let (stats, budgets, failure) = (storage.stats(), storage.budgets(), storage.failure());
        let token = TokenFile::load(&data_dir)?;
        let audit = Audit::open(&data_dir, Arc::clone(&clock))
            .map_err(|cause| NodeError::Audit { path: data_dir.clone(), cause })?;
        let watch = Watch::new(audit.clone());
        let backups = storage.backups();
        let absent_ca = match (options.new_ca, is_used) {
            (true, _) => AbsentCa::IsGivenUp,
            // Groups run only after the CA is there, durably: it was lost.
            (false, true) => AbsentCa::IsRefused,
            (false, false) => AbsentCa::IsMade,
        };
        let mut certificates =
            NodeCertificates::open(&data_dir, &options.server_name, &tls_names(&options), absent_ca)?;
        if let Some(files) = options.rest_certificate.clone() {
            certificates = certificates.with_rest_files(files)?;
        }
        let certificates = Arc::new(certificates);
        let tls = if http.ip().is_loopback() { None } else { Some(certificates.https_server_config()?) };
        let http_url = format!("{}://{http}", if tls.is_some() { "https" } else { "http" });

        let mut cluster_options = options.cluster.clone();
        cluster_options.on_security_event = Some(telling(watch.clone()));
        let groups_started = clock.monotonic();
        // A full disk may keep a group from leading: whoever asks meanwhile is told so.
        let groups = Box::pin(Cluster::start(storage, cluster_options, Arc::clone(&clock)));
        let cluster = answering(Arc::clone(&budgets), &listener, tls.clone(), groups).await?;
        tell_of_recovery(&openings, &stats, clock.monotonic().saturating_sub(groups_started));
        let closing = CancellationToken::new();
        let served = async {
            let token = Box::pin(hand_over(token, &data_dir, &cluster));
            let token = answering(Arc::clone(&budgets), &listener, tls.clone(), token).await?;
            let mut quic_options = ServerOptions::new(options.quic, certificates.quic_server_config()?);
            quic_options.reset_key = Some(certificates.reset_key());
            quic_options.on_traceparent = Some(telemetry::continue_trace);
            let server = Server::bind(quic_options, Arc::new(cluster.clone()))?;
            let quic = server.handle();
            let observers = Arc::new(Semaphore::new(OBSERVERS_MAX));
            let batches = Arc::new(Semaphore::new(BATCHES_MAX));
            let sources = Sources {
                cluster: cluster.clone(),
                storage: stats,
                budgets: Arc::clone(&budgets),
                admitted_bytes_max: options.cluster.admitted_bytes_max as u64,
                transport: Arc::clone(quic.stats()),
                observers: Arc::clone(&observers),
                batches: Arc::clone(&batches),
                clock: Arc::clone(&clock),
                started,
            };
            let metrics = Metrics::new(sources, audit.clone(), &watch);
            let rest = Rest {
                pace: Pace::new(metrics.batches.window.clone()),
                cluster: cluster.clone(),
                budgets: Arc::clone(&budgets),
                audit: audit.clone(),
                watch: watch.clone(),
                certificates: Arc::clone(&certificates),
                http_url: http_url.clone(),
                quic_addr: quic.local_addr().to_string(),
                observers,
                batches,
                exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
                backups: Backups {
                    source: backups,
                    node: id.clone(),
                    data_dir: data_dir.clone(),
                    key: options.state_key.clone(),
                    random: Arc::clone(&options.cluster.random),
                },
                runtime: tokio::runtime::Handle::current(),
                metrics,
                clock: Arc::clone(&clock),
                closing: closing.clone(),
            };
            let rest = RestServer::start(Serves::Node(Data::new(rest)), listener, tls).await.map_err(http_error)?;
            tokio::spawn(server.run());
            tokio::spawn(gather(watch.clone(), closing.clone()));
            Ok::<_, NodeError>((quic, rest, token))
        };
        let (quic, rest, token) = match served.await {
            Ok(served) => served,
            Err(error) => {
                cluster.shutdown().await;
                audit.stop().await;
                return Err(error);
            }
        };
        let took = clock.monotonic().saturating_sub(started);
        tracing::info!(node = %id, http = %http_url, quic = %quic.local_addr(), took_ms = took.as_millis() as u64, "node started");
        Ok(Self { cluster, token, audit, watch, certificates, http_url, quic, rest, closing, budgets, failure })
    }

    /// Base address of the REST, with the port that was chosen.
    pub fn http_url(&self) -> &str {
        &self.http_url
    }

    /// Where gateways connect, with the port that was chosen.
    pub fn quic_addr(&self) -> SocketAddr {
        self.quic.local_addr()
    }

    /// The token that was in the data directory when the node started, for whoever runs the node in its own process; empty if its
    /// operator has taken it away.
    pub fn admin_token(&self) -> &str {
        self.token.as_ref().map_or("", TokenFile::as_str)
    }

    /// PEM text of the CA that signs the node's certificate.
    pub fn ca_pem(&self) -> String {
        self.certificates.ca_pem()
    }

    /// Reads the certificate files again; new connections are shown the new certificates. What is bad is refused, and all stays as it
    /// was. `who` asked for it, for the audit log.
    pub async fn reload_certificates(&self, who: &str) -> Result<Reloaded, ReloadError> {
        reload::reload(Arc::clone(&self.certificates), &self.audit, who).await
    }

    /// The cluster part, for whoever runs the node in its own process.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// What the transport counts.
    pub fn transport_stats(&self) -> &Arc<TransportStats> {
        self.quic.stats()
    }

    /// Resolves once a write would commit.
    pub async fn ready(&self) {
        self.cluster.ready().await;
    }

    /// For a watchdog: resolves once all that is under way now is committed, at once if nothing is. It needs the runtime's threads,
    /// both groups and the disk to move, and writes nothing itself: an idle node's flash is left alone.
    pub async fn progress(&self) {
        let mut again = tokio::time::interval(PROGRESS_RETRY);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            again.tick().await;
            self.cluster.ready().await;
            // Any other refusal: the chain broke meanwhile. A moment later it leads again, or is not ready.
            if let Ok(_) | Err(Refusal::SiteNotFound { .. }) = self.cluster.site(&SiteId::default_site()).await {
                return;
            }
        }
    }

    /// Does the node wait for room on its disk? A restart makes none.
    pub fn disk_is_full(&self) -> bool {
        self.budgets.disk_is_full()
    }

    /// Resolves if the storage fails for good (with what failed); the node acknowledges nothing from then on and should be
    /// shut down. Never resolves otherwise.
    pub async fn failed(&self) -> StorageFailure {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match failed {
            Some(failure) => failure,
            // The storage was shut down.
            None => std::future::pending().await,
        }
    }

    /// What has failed of the storage, for whoever wants to know it also when the node has stopped: closing the files may show it.
    pub fn failure(&self) -> watch::Receiver<Option<StorageFailure>> {
        self.failure.clone()
    }

    /// Stops gracefully: takes nothing new, finishes what is under way, ends sessions and event streams, and writes a last
    /// checkpoint. Takes seconds at most.
    pub async fn shutdown(self) {
        self.closing.cancel();
        tokio::join!(self.rest.stop(), self.quic.shutdown());
        self.cluster.shutdown().await;
        self.watch.gather();
        self.audit.stop().await;
        tracing::info!("node stopped");
    }
}

/// A first start is refused where the disk is too small to take its first write, also where one before was cut short, or a backup was
/// restored; later ones do with what there is.
fn first_start_fits(data_dir: &Path, options: &StorageOptions) -> Result<(), NodeError> {
    let Some(needed_bytes) = options.first_start_bytes_left() else { return Ok(()) };
    // A disk that does not tell is tried.
    let free_bytes = options.disk.free_bytes().ok().flatten().unwrap_or(u64::MAX);
    if free_bytes < needed_bytes {
        return Err(NodeError::TooSmall { path: data_dir.to_owned(), free_bytes, needed_bytes });
    }
    Ok(())
}

/// The names that the certificate carries besides the server name and loopback.
fn tls_names(options: &NodeOptions) -> Vec<String> {
    let mut names = options.tls_names.clone();
    let ip = options.http.ip();
    if !ip.is_unspecified() && !ip.is_loopback() {
        names.push(ip.to_string());
    }
    names
}

/// What the start took its time for. After a clean stop there is little to tell.
fn tell_of_recovery(openings: &Openings, stats: &StorageStats, groups: Duration) {
    let ms = |took: Duration| took.as_millis() as u64;
    tracing::info!(
        log_ms = ms(openings.log_took),
        log_bytes = openings.log_bytes,
        state_ms = ms(openings.state.took),
        state_walked = openings.state.walked,
        groups_ms = ms(groups),
        entries_read_back = stats.log_disk_reads.get(),
        rows_reapplied = stats.applied_rows.get(),
        "storage opened, and the log behind the last checkpoint applied again"
    );
}

/// Whoever has the data directory has a token, the first time; see [`crate::token`].
async fn hand_over(
    file: Option<TokenFile>,
    data_dir: &Path,
    cluster: &Cluster,
) -> Result<Option<TokenFile>, NodeError> {
    let file = match file {
        Some(file) => file,
        None if cluster.has_tokens()? => return Ok(None),
        None => TokenFile::create(data_dir)?,
    };
    cluster.hand_over_token(file.as_str()).await?;
    Ok(Some(file))
}

/// Writes, once in a while, what security events came after each first one.
async fn gather(watch: Watch, stop: CancellationToken) {
    // The first ends when it is over, not at once: what came first has its line already.
    let mut windows = tokio::time::interval_at(tokio::time::Instant::now() + AUDIT_WINDOW, AUDIT_WINDOW);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = windows.tick() => watch.gather(),
        }
    }
}

/// Security events of the cluster part, for the audit log. What many of them have in common is what they are gathered by.
fn telling(watch: Watch) -> OnSecurityEvent {
    Arc::new(move |event| match event {
        SecurityEvent::CredentialRefused { gateway, peer, how } => {
            watch.seen(Event::CredentialRefused, peer.clone(), |record| {
                record.detail = Some(how);
                record.from = Some(peer);
                record.target = Some(gateway.to_string());
            });
        }
        SecurityEvent::CredentialConflict { gateway, peer, standing, denied } => {
            watch.seen(Event::CredentialConflict, gateway.to_string(), |record| {
                let became = if denied { "the newer one was refused" } else { "the older session was closed" };
                record.detail = Some(format!("another session was open from {standing}; {became}"));
                record.from = Some(peer);
                record.target = Some(gateway.to_string());
            });
        }
        SecurityEvent::DeviceRefused { gateway, twin, how } => {
            watch.seen(Event::DeviceRefused, gateway.to_string(), |record| {
                record.detail = Some(format!("through gateway {gateway}: {how}"));
                record.target = Some(twin.to_string());
            });
        }
        SecurityEvent::MessagesRefused { gateway, count, how } => {
            watch.seen(Event::MessagesRefused, gateway.to_string(), |record| {
                record.detail = Some(format!("{count} in one batch, the first of them: {how}"));
                record.target = Some(gateway.to_string());
            });
        }
    })
}
