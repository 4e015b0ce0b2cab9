//! A node's storage and cluster in a temporary directory.

use std::sync::Arc;

use twin_cluster::{Cluster, ClusterOptions};
use twin_core::clock::SystemClock;
use twin_core::command::{Answer, Command, Precondition, Sender, StateBody};
use twin_core::document::TwinDocument;
use twin_core::grain::Reply;
use twin_core::ids::{GatewayId, GatewayName, SiteId, TwinId};
use twin_core::numbers::{AttachmentNo, OutboxId, Seq, Stay};
use twin_core::op::Op;
use twin_core::path::Path;
use twin_core::refusal::Refusal;
use twin_core::value::Value;
use twin_storage::{Options, Storage};

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) cluster: Cluster,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(ClusterOptions::default()).await
    }

    pub(crate) async fn with(options: ClusterOptions) -> Self {
        Self::open(tempfile::tempdir().unwrap(), options).await
    }

    pub(crate) async fn open(directory: tempfile::TempDir, options: ClusterOptions) -> Self {
        let cluster = start(directory.path(), options).await;
        Self { directory, cluster }
    }

    pub(crate) async fn restart(self) -> Self {
        let Self { directory, cluster } = self;
        cluster.shutdown().await;
        drop(cluster);
        Self::open(directory, ClusterOptions::default()).await
    }

    pub(crate) async fn put(&self, id: &str) -> TwinDocument {
        document(self.cluster.call(&twin(id), put(Precondition::None), 10).await)
    }

    pub(crate) async fn read(&self, id: &str) -> Result<TwinDocument, Refusal> {
        match self.cluster.call(&twin(id), Command::Read, 0).await? {
            Answer::Document { document, .. } => Ok(*document),
            other => panic!("{other:?}"),
        }
    }

    /// What a session does with a message.
    pub(crate) async fn submit(&self, id: &str, command: Command) -> Result<Answer, Refusal> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.cluster.submit(&twin(id), command, 100, Reply::once(move |answer| sender.send(answer).unwrap()));
        receiver.await.expect("every command is answered")
    }

    pub(crate) async fn attach(&self, id: &str, sender: &Sender, saw: u64) -> Result<Answer, Refusal> {
        let sender = sender.clone();
        self.submit(id, Command::Attach { sender, saw: AttachmentNo::new(saw), may_create: false }).await
    }

    pub(crate) async fn report(&self, id: &str, sender: &Sender, number: u64, value: u64) -> Result<Answer, Refusal> {
        self.submit(id, report(sender, number, value)).await
    }
}

async fn start(directory: &std::path::Path, options: ClusterOptions) -> Cluster {
    // `RUST_LOG=twin_cluster=debug` shows what a failing test did; without it nothing is printed.
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
    let storage = Storage::open(Options::in_directory(directory)).unwrap();
    Cluster::start(storage, options, Arc::new(SystemClock::new())).await.unwrap()
}

pub(crate) fn twin(id: &str) -> TwinId {
    TwinId::new(id).unwrap()
}

pub(crate) fn put(precondition: Precondition) -> Command {
    Command::Put { site: None, tags: Value::empty_object(), desired: Value::empty_object(), precondition }
}

pub(crate) fn document(answer: Result<Answer, Refusal>) -> TwinDocument {
    match answer {
        Ok(Answer::Document { document, .. }) => *document,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn sender(gateway: &str) -> Sender {
    Sender {
        gateway: GatewayId { site: SiteId::default_site(), name: GatewayName::new(gateway).unwrap() },
        outbox: OutboxId([gateway.len() as u8; 16]),
        stay: Stay { boot: twin_core::numbers::Boot::new(1), counter: 1 },
    }
}

pub(crate) fn report(sender: &Sender, number: u64, value: u64) -> Command {
    Command::State {
        sender: sender.clone(),
        first: Seq::new(number),
        last: Seq::new(number),
        body: StateBody::Report(vec![Op::Set { path: Path::from_keys(["value"]), value: value.cast_signed().into() }]),
    }
}

pub(crate) fn reported(document: &TwinDocument) -> Option<&Value> {
    document.reported.as_object().unwrap().get("value")
}
