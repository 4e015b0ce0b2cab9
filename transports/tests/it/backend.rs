//! A backend that records commands and answers as told.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use twin_core::command::{Answer, Command, DesiredDelta, StateBody};
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::numbers::{AttachmentNo, OwnerOrder, Version, WallTime};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_transports::auth::{Credentials, GatewayKey, GatewaySecret};
use twin_transports::credit::Load;
use twin_transports::entropy::SystemEntropy;
use twin_transports::frames::device::CallResult;
use twin_transports::frames::session::Heartbeat;
use twin_transports::server::{Backend, Downlink, GatewayCredential, SessionGrant, Submission, VerifiedHello};

/// What the backend does with a submitted command.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answering {
    /// At once.
    Now,
    /// Keeps the reply until [`Recorder::release`].
    Held,
}

type Answerer = Box<dyn Fn(&TwinId, &Command) -> Result<Answer, Refusal> + Send + Sync>;

pub(crate) struct Recorder {
    credentials: Mutex<HashMap<GatewayId, GatewayCredential>>,
    pub(crate) commands: Mutex<Vec<(TwinId, Command, usize)>>,
    pub(crate) opened: Mutex<Vec<VerifiedHello>>,
    pub(crate) closed: Mutex<Vec<u64>>,
    pub(crate) links: Mutex<Vec<Arc<dyn Downlink>>>,
    pub(crate) heartbeats: Mutex<Vec<Heartbeat>>,
    pub(crate) call_results: Mutex<Vec<CallResult>>,
    pub(crate) refuse_open: Mutex<Option<Refusal>>,
    pub(crate) answering: Mutex<Answering>,
    held: Mutex<Vec<(TwinId, Command, Reply)>>,
    answerer: Mutex<Arc<Answerer>>,
    sessions: AtomicU64,
    /// `desired.$version` per twin.
    pub(crate) desired: Mutex<HashMap<TwinId, u64>>,
    /// How full the node is, in thousandths.
    pub(crate) fill_permille: AtomicU64,
}

pub(crate) fn owner() -> OwnerOrder {
    OwnerOrder { site_epoch: 1, lineage: 2, term: 3 }
}

impl Recorder {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            credentials: Mutex::default(),
            commands: Mutex::default(),
            opened: Mutex::default(),
            closed: Mutex::default(),
            links: Mutex::default(),
            heartbeats: Mutex::default(),
            call_results: Mutex::default(),
            refuse_open: Mutex::default(),
            answering: Mutex::new(Answering::Now),
            held: Mutex::default(),
            answerer: Mutex::new(Arc::new(Box::new(|_, _| Ok(Answer::Done)))),
            sessions: AtomicU64::new(0),
            desired: Mutex::default(),
            fill_permille: AtomicU64::new(0),
        })
    }

    /// Registers a gateway and returns its credentials (without a CA).
    pub(crate) fn add_gateway(&self, site: &str, name: &str) -> Credentials {
        let secret = GatewaySecret::generate(&SystemEntropy::new()).unwrap();
        let id = GatewayId { site: SiteId::new(site).unwrap(), name: GatewayName::new(name).unwrap() };
        let product_key = format!("pk-{site}-{name}");
        self.register(&id, &product_key, GatewayKey::Secret(secret.public_key()));
        Credentials {
            site: id.site,
            name: id.name,
            product_key,
            identity: secret.into(),
            ca: String::new(),
            server_name: twin_transports::tls::SERVER_NAME.into(),
            file: None,
        }
    }

    /// Registers a gateway by its key; nothing has ended by its clock but what ends in 1970.
    pub(crate) fn register(&self, id: &GatewayId, product_key: &str, key: GatewayKey) {
        let (product_key, now) = (product_key.to_owned(), WallTime::new(1000));
        let credential = GatewayCredential { product_key, key, ending_key: None, now };
        self.credentials.lock().insert(id.clone(), credential);
    }

    pub(crate) fn answer_with(
        &self,
        answerer: impl Fn(&TwinId, &Command) -> Result<Answer, Refusal> + Send + Sync + 'static,
    ) {
        *self.answerer.lock() = Arc::new(Box::new(answerer));
    }

    /// Sets a twin's `desired.$version` and tells the newest session.
    pub(crate) fn steer(&self, twin: &TwinId, version: u64) {
        self.desired.lock().insert(twin.clone(), version);
        let link = self.links.lock().last().cloned();
        link.unwrap().desired_changed(twin);
    }

    pub(crate) fn link(&self) -> Arc<dyn Downlink> {
        self.links.lock().last().cloned().unwrap()
    }

    /// Answers what was held.
    pub(crate) fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        for (twin, command, reply) in held {
            let answer = self.answer(&twin, &command);
            reply.send(answer);
        }
    }

    pub(crate) fn held(&self) -> usize {
        self.held.lock().len()
    }

    /// Drops held replies unanswered, as a dying grain does.
    pub(crate) fn drop_held(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        drop(held);
    }

    /// Has nothing reached the backend?
    pub(crate) fn saw_nothing(&self) -> bool {
        self.commands.lock().is_empty()
            && self.opened.lock().is_empty()
            && self.heartbeats.lock().is_empty()
            && self.call_results.lock().is_empty()
    }

    fn answer(&self, twin: &TwinId, command: &Command) -> Result<Answer, Refusal> {
        let current = self.desired.lock().get(twin).copied().unwrap_or(0);
        match command {
            Command::ReadDelta { since } => Ok(Answer::Delta(DesiredDelta {
                from: *since,
                to: Version::new(current),
                snapshot: false,
                ops: vec![Op::Set { path: Path::from_keys(["price"]), value: Value::from(current as i64) }],
            })),
            Command::Attach { .. } => match self.custom(twin, command) {
                Ok(Answer::Done) => {
                    Ok(Answer::Attached { attachment: AttachmentNo::new(1), desired_version: Version::new(current) })
                }
                other => other,
            },
            _ => self.custom(twin, command),
        }
    }

    fn custom(&self, twin: &TwinId, command: &Command) -> Result<Answer, Refusal> {
        let answerer = self.answerer.lock().clone();
        answerer(twin, command)
    }
}

impl Backend for Recorder {
    async fn credential(&self, gateway: &GatewayId) -> Option<GatewayCredential> {
        self.credentials.lock().get(gateway).cloned()
    }

    async fn open_session(&self, hello: VerifiedHello, downlink: Arc<dyn Downlink>) -> Result<SessionGrant, Refusal> {
        if let Some(refusal) = self.refuse_open.lock().clone() {
            return Err(refusal);
        }
        self.opened.lock().push(hello);
        self.links.lock().push(downlink);
        let session = self.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(SessionGrant { session, owner: owner(), enrolment_open: true })
    }

    fn close_session(&self, _gateway: &GatewayId, session: u64) {
        self.closed.lock().push(session);
    }

    fn submit(&self, twin: &TwinId, mut command: Command, bytes: usize, reply: Reply) {
        // Kept in the form in which it is told.
        if let Command::Report { sender, first, last, report } = command {
            command = Command::State { sender, first, last, body: StateBody::Report(report.unpack()) };
        }
        self.commands.lock().push((twin.clone(), command.clone(), bytes));
        match *self.answering.lock() {
            Answering::Held => self.held.lock().push((twin.clone(), command, reply)),
            Answering::Now => reply.send(self.answer(twin, &command)),
        }
    }

    fn submit_all(&self, batch: Vec<Submission>) {
        for Submission { twin, command, bytes, reply } in batch {
            self.submit(&twin, command, bytes, reply);
        }
    }

    fn call_answered(&self, _gateway: &GatewayId, result: CallResult) {
        self.call_results.lock().push(result);
    }

    fn load(&self) -> Load {
        Load { budget_bytes: 1 << 20, fill_permille: self.fill_permille.load(Ordering::Relaxed) }
    }

    fn heartbeat(&self, _gateway: &GatewayId, _session: u64, heartbeat: Heartbeat) {
        self.heartbeats.lock().push(heartbeat);
    }
}

/// Waits until the condition holds, at most ten seconds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
