//! A node in memory: real frames, real sessions, real twins; only storage and consensus are left out.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use twin_core::command::{Answer, ChangeKind, Command, Precondition, SectionChange, StateBody};
use twin_core::event::OutboundKind;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::json::to_compact;
use twin_core::numbers::{Boot, CallNo, Floor, OutboxId, OwnerOrder, WallTime};
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::twin::{StepContext, Twin};
use twin_core::value::Value;
use twin_gateway::{Credentials, Gateway, Options};
use twin_transports::auth::{GatewayKey, GatewaySecret};
use twin_transports::entropy::SystemEntropy;
use twin_transports::frames::device::{Call, CallResult};
use twin_transports::frames::session::Heartbeat;
use twin_transports::server::{
    Backend, Downlink, GatewayCredential, Server, ServerHandle, ServerOptions, SessionGrant, Submission, VerifiedHello,
};
use twin_transports::tls::{NodeCertificates, SERVER_NAME};

const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);

type Refuse = Box<dyn FnMut(&TwinId, &Command) -> Option<Refusal> + Send>;

/// A command that was carried out.
pub struct Done {
    pub command: Command,
    pub answer: Result<Answer, Refusal>,
}

#[derive(Default)]
struct State {
    twins: HashMap<TwinId, Twin>,
    sessions: HashMap<GatewayId, (u64, Arc<dyn Downlink>)>,
    boots: HashMap<(GatewayId, OutboxId), (Boot, [u8; 16])>,
    log: Vec<Done>,
    refuse: Option<Refuse>,
    results: Vec<CallResult>,
    heartbeat: Option<Heartbeat>,
}

/// The twins, which outlive the server in front of them.
pub struct World {
    state: Mutex<State>,
    pub enrolment_open: bool,
    secret: GatewaySecret,
    session: AtomicU64,
}

impl World {
    pub fn new(enrolment_open: bool) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            enrolment_open,
            secret: GatewaySecret::generate(&SystemEntropy::new()).unwrap(),
            session: AtomicU64::new(0),
        })
    }

    /// Lets the node refuse what this says.
    pub fn refuse(&self, refuse: impl FnMut(&TwinId, &Command) -> Option<Refusal> + Send + 'static) {
        self.state.lock().refuse = Some(Box::new(refuse));
    }

    pub fn command(&self, twin: &TwinId, command: Command) -> Result<Answer, Refusal> {
        let mut state = self.state.lock();
        if let Some(refusal) = state.refuse.as_mut().and_then(|refuse| refuse(twin, &command)) {
            state.log.push(Done { command, answer: Err(refusal.clone()) });
            return Err(refusal);
        }
        let entry = state.twins.entry(twin.clone()).or_insert_with(|| Twin::absent(twin.clone()));
        let step = entry
            .step(command.clone(), StepContext { now: WallTime::new(1_000), floor: Floor::new(0), observed: true });
        let told: Vec<Arc<dyn Downlink>> = step
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                OutboundKind::Desired { gateway: Some(gateway), .. } => state.sessions.get(gateway),
                _ => None,
            })
            .map(|(_, downlink)| Arc::clone(downlink))
            .collect();
        state.log.push(Done { command, answer: step.answer.clone() });
        drop(state);
        for downlink in told {
            downlink.desired_changed(twin);
        }
        step.answer
    }

    pub fn put(&self, twin: &TwinId, desired: &str) {
        let desired = twin_core::json::parse(desired.as_bytes(), "desired").unwrap();
        let command =
            Command::Put { site: None, tags: Value::empty_object(), desired, precondition: Precondition::None };
        self.command(twin, command).unwrap();
    }

    pub fn patch_desired(&self, twin: &TwinId, patch: &str) {
        let patch = twin_core::json::parse(patch.as_bytes(), "desired").unwrap();
        let desired = Some(SectionChange { at: Path::root(), kind: ChangeKind::Merge(patch) });
        self.command(twin, Command::Steer { tags: None, desired, precondition: Precondition::None }).unwrap();
    }

    /// `reported` without metadata, its version, and the convergence, as JSON text.
    pub fn reported(&self, twin: &TwinId) -> String {
        self.with_document(twin, |document| {
            let Value::Object(mut members) = document.reported else { panic!("reported is an object") };
            members.retain(|key, _| !key.starts_with('$'));
            to_compact(&Value::Object(members))
        })
        .unwrap_or_default()
    }

    pub fn reported_version(&self, twin: &TwinId) -> u64 {
        self.with_document(twin, |document| document.reported_version.get()).unwrap_or(0)
    }

    pub fn convergence(&self, twin: &TwinId) -> String {
        self.with_document(twin, |document| to_compact(&document.convergence)).unwrap_or_default()
    }

    fn with_document<T>(&self, twin: &TwinId, read: impl FnOnce(twin_core::document::TwinDocument) -> T) -> Option<T> {
        self.state.lock().twins.get(twin).and_then(|twin| twin.document().ok()).map(read)
    }

    /// What was done, through this.
    pub fn log<T>(&self, pick: impl FnMut(&Done) -> Option<T>) -> Vec<T> {
        self.state.lock().log.iter().filter_map(pick).collect()
    }

    pub fn call(&self, gateway: &str, call: u64, twin: &TwinId, method: &str) -> bool {
        let downlink = self.state.lock().sessions.get(&gateway_id(gateway)).map(|(_, downlink)| Arc::clone(downlink));
        downlink.is_some_and(|downlink| {
            downlink.call(Call {
                twin: twin.clone(),
                owner: OwnerOrder::default(),
                call: CallNo::new(call),
                method: method.into(),
                payload: Value::from("please"),
                timeout_ms: 2000,
            })
        })
    }

    pub fn call_results(&self) -> Vec<CallResult> {
        self.state.lock().results.clone()
    }

    pub fn heartbeat(&self) -> Option<Heartbeat> {
        self.state.lock().heartbeat.clone()
    }

    /// Cuts the session of a gateway.
    pub fn cut(&self, gateway: &str) {
        let downlink = self.state.lock().sessions.get(&gateway_id(gateway)).map(|(_, downlink)| Arc::clone(downlink));
        if let Some(downlink) = downlink {
            downlink.close("unavailable", "cut by the test");
        }
    }
}

pub fn gateway_id(name: &str) -> GatewayId {
    GatewayId { site: SiteId::default_site(), name: GatewayName::new(name).unwrap() }
}

impl Backend for World {
    async fn credential(&self, _: &GatewayId) -> Option<GatewayCredential> {
        let (key, now) = (GatewayKey::Secret(self.secret.public_key()), WallTime::default());
        Some(GatewayCredential { product_key: "pk".into(), key, ending_key: None, now })
    }

    async fn open_session(&self, hello: VerifiedHello, downlink: Arc<dyn Downlink>) -> Result<SessionGrant, Refusal> {
        let mut state = self.state.lock();
        let key = (hello.gateway.clone(), hello.outbox);
        if let Some((committed, nonce)) = state.boots.get(&key)
            && (hello.boot < *committed || (hello.boot == *committed && hello.boot_nonce != *nonce))
        {
            return Err(Refusal::StaleBoot { boot: hello.boot, committed: *committed });
        }
        state.boots.insert(key, (hello.boot, hello.boot_nonce));
        let session = self.session.fetch_add(1, Ordering::Relaxed) + 1;
        state.sessions.insert(hello.gateway, (session, downlink));
        Ok(SessionGrant { session, owner: OwnerOrder::default(), enrolment_open: self.enrolment_open })
    }

    fn close_session(&self, gateway: &GatewayId, session: u64) {
        let mut state = self.state.lock();
        if state.sessions.get(gateway).is_some_and(|(open, _)| *open == session) {
            state.sessions.remove(gateway);
        }
    }

    fn submit(&self, twin: &TwinId, mut command: Command, _: usize, reply: Reply) {
        // Taken apart, so that tests can look into it.
        if let Command::Report { sender, first, last, report } = command {
            command = Command::State { sender, first, last, body: StateBody::Report(report.unpack()) };
        }
        reply.send(self.command(twin, command));
    }

    fn submit_all(&self, batch: Vec<Submission>) {
        for Submission { twin, command, bytes, reply } in batch {
            self.submit(&twin, command, bytes, reply);
        }
    }

    fn call_answered(&self, _: &GatewayId, result: CallResult) {
        self.state.lock().results.push(result);
    }

    fn heartbeat(&self, _: &GatewayId, _: u64, heartbeat: Heartbeat) {
        self.state.lock().heartbeat = Some(heartbeat);
    }
}

/// A server in front of the world.
pub struct Node {
    pub world: Arc<World>,
    handle: ServerHandle,
    certificates: NodeCertificates,
    dir: Arc<tempfile::TempDir>,
}

impl Node {
    pub fn start(world: Arc<World>) -> Self {
        Self::start_asking(world, HEARTBEAT_INTERVAL)
    }

    /// One that wants heartbeats this often.
    pub fn start_asking(world: Arc<World>, heartbeat_interval: Duration) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::start_in(world, dir, "127.0.0.1:0".parse().unwrap(), heartbeat_interval)
    }

    fn start_in(
        world: Arc<World>,
        dir: Arc<tempfile::TempDir>,
        addr: SocketAddr,
        heartbeat_interval: Duration,
    ) -> Self {
        let certificates = NodeCertificates::load_or_create(dir.path(), SERVER_NAME, &[]).unwrap();
        let mut options = ServerOptions::new(addr, certificates.quic_server_config().unwrap());
        options.heartbeat_interval = heartbeat_interval;
        let server = Server::bind(options, Arc::clone(&world)).unwrap();
        let handle = server.handle();
        tokio::spawn(server.run());
        Self { world, handle, certificates, dir }
    }

    pub fn addr(&self) -> SocketAddr {
        self.handle.local_addr()
    }

    pub async fn stop(self) -> Stopped {
        let addr = self.addr();
        self.handle.shutdown().await;
        Stopped { world: self.world, dir: self.dir, addr }
    }

    pub fn credentials(&self, gateway: &str) -> Credentials {
        let id = gateway_id(gateway);
        Credentials {
            site: id.site,
            name: id.name,
            product_key: "pk".into(),
            identity: self.world.secret.clone().into(),
            ca: self.certificates.ca_pem(),
            server_name: self.certificates.server_name().into(),
            file: None,
        }
    }

    pub fn options(&self, gateway: &str, state_dir: &std::path::Path) -> Options {
        Options::new(self.addr().to_string(), self.credentials(gateway), state_dir)
    }

    pub fn gateway(&self, gateway: &str, state_dir: &std::path::Path) -> Gateway {
        Gateway::open(self.options(gateway, state_dir)).unwrap()
    }
}

/// A node that is down; its address stays its own.
pub struct Stopped {
    world: Arc<World>,
    dir: Arc<tempfile::TempDir>,
    addr: SocketAddr,
}

impl Stopped {
    pub async fn start(self) -> Node {
        // The socket may take a moment to be free.
        let Self { world, dir, addr } = self;
        eventually("the port is free", || std::net::UdpSocket::bind(addr).is_ok()).await;
        Node::start_in(world, dir, addr, HEARTBEAT_INTERVAL)
    }
}

pub fn id(text: &str) -> TwinId {
    TwinId::new(text).unwrap()
}

/// Waits for a condition, for ten seconds at most.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep_until(tokio::time::Instant::now() + Duration::from_millis(5)).await;
    }
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_secs(10), future).await {
        Ok(value) => value,
        Err(tokio::time::error::Elapsed { .. }) => panic!("not within 10 s: {what}"),
    }
}
