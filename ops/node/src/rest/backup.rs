//! `/api/v1/backup`: everything that a node holds, as a stream.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use ring::rand::SecureRandom;
use tokio::sync::mpsc::{self, Sender};
use tokio_util::sync::CancellationToken;
use twin_backup::{Frame, MEDIA_TYPE, Manifest, Writer};
use twin_core::time_text::rfc3339;
use twin_small_file::read_small_file;
use twin_storage::{Backup, BackupChunk, BackupError, BackupSource, FORMAT_VERSION, StateKey};
use twin_transports::limits::NODE_PEM_BYTES_MAX;
use twin_transports::tls::{CA_FILE, CA_KEY_FILE};

use super::Rest;
use super::body::bodiless;
use super::guard::audit_detail;
use super::once::keyless;
use super::problem::Problem;
use super::query::Query;
use crate::limits::{BACKUP_CHUNKS_MAX, BACKUP_RETRY_AFTER};
use crate::restore::{SALT_BYTES, SEAL_PURPOSE};

/// What backups are made of.
pub(crate) struct Backups {
    pub(crate) source: BackupSource,
    /// The node's id.
    pub(crate) node: String,
    /// Where the CA is.
    pub(crate) data_dir: PathBuf,
    /// Seals backups where the state is sealed.
    pub(crate) key: Option<StateKey>,
    /// For their salts.
    pub(crate) random: Arc<dyn SecureRandom + Send + Sync>,
}

#[utoipa::path(
    post, path = "/api/v1/backup", tag = "nodes", operation_id = "backup", summary = "A backup of the node, while it works",
    description = "Everything that was acknowledged before the request is in it; each Raft group is as it was at one point in its order. \
                   Writes go on. The stream has a checksum and an end mark: without them it is no backup, and `twind restore` refuses it. \
                   It holds the CA's private key, unless `keys` is `false`: whoever has the key can pass for the node. Of a node with \
                   `--encrypt-state` it is sealed under that node's key.",
    params(("keys" = Option<bool>, Query, description = "With the CA's certificate and key, without which gateways do not trust a restored node; true unless given")),
    responses(
        (status = 200, description = "The backup", body = Vec<u8>, content_type = "application/vnd.twinmesh.backup"),
        (status = 429, description = "Another backup is under way"),
    ),
)]
pub(crate) async fn post(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["keys"])?;
    keyless(&request, "a backup (each is a new one)")?;
    let keys = match query.get("keys") {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => {
            let detail = format!("query parameter \"keys\" is true or false, not {other:?}");
            return Err(Problem::bad_request("bad-parameter", detail));
        }
    };
    audit_detail(&request, if keys { "with the CA's key" } else { "without keys" });
    bodiless(payload, "a backup").await?;
    let backup = rest.backups.source.begin().await.map_err(refused)?;
    let (to_client, chunks) = mpsc::channel(BACKUP_CHUNKS_MAX);
    let data = rest.clone();
    let begun = rest.runtime.spawn_blocking(move || {
        let (writer, head) = begin(&data, &backup, keys)?;
        let closing = data.closing.clone();
        data.runtime.spawn_blocking(move || run(backup, writer, head, &to_client, &closing));
        Ok(())
    });
    begun.await.map_err(|error| Problem::internal(format!("the backup did not begin: {error}")))?.map_err(refused)?;
    let stream = futures_util::stream::unfold(chunks, async |mut chunks: mpsc::Receiver<Bytes>| {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, Infallible>(chunk), chunks))
    });
    Ok(HttpResponse::Ok()
        .content_type(MEDIA_TYPE)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies of nginx's kind would gather it first.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(stream))
}

fn refused(error: BackupError) -> Problem {
    if matches!(error, BackupError::UnderWay) {
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", error.to_string()).retry_after(BACKUP_RETRY_AFTER);
    }
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()).retry_after(BACKUP_RETRY_AFTER)
}

/// What stands before the groups. Blocks.
fn begin(rest: &Rest, backup: &Backup, keys: bool) -> Result<(Writer, Vec<u8>), BackupError> {
    let (rows_estimate, bytes_estimate) = backup.estimate()?;
    let sealed = match &rest.backups.key {
        Some(key) => {
            let mut salt = [0; SALT_BYTES];
            rest.backups.random.fill(&mut salt).map_err(|_| BackupError::Entropy)?;
            Some((salt, key.derived(&salt, SEAL_PURPOSE)))
        }
        None => None,
    };
    let manifest = Manifest {
        node: rest.backups.node.clone(),
        created_at: rfc3339(rest.clock.wall()),
        release: env!("CARGO_PKG_VERSION").to_owned(),
        storage_format: FORMAT_VERSION,
        lineage: rest.cluster.lineage(),
        keys,
        rows_estimate,
        bytes_estimate,
        sealed: sealed.as_ref().map(|(salt, _)| hex(salt)),
    };
    let (mut writer, mut head) = Writer::begin(&manifest, sealed.as_ref().map(|(_, key)| key));
    for name in [CA_FILE, CA_KEY_FILE].into_iter().filter(|_| keys) {
        let content = read_small_file(&rest.backups.data_dir.join(name), NODE_PEM_BYTES_MAX)
            .map_err(|error| BackupError::File(io::Error::from(error).into()))?;
        head.extend(writer.frame(&Frame::File { name: name.to_owned(), content }));
    }
    Ok((writer, head))
}

/// Sends the backup as fast as it is taken. Blocks.
fn run(mut backup: Backup, mut writer: Writer, head: Vec<u8>, to_client: &Sender<Bytes>, closing: &CancellationToken) {
    let mut next = Bytes::from(head);
    let mut sent_bytes = 0;
    let why = loop {
        sent_bytes += next.len() as u64;
        if to_client.blocking_send(next).is_err() {
            tracing::warn!(sent_bytes, "a backup was given up: its client has left");
            return;
        }
        if closing.is_cancelled() {
            break "the node is stopping".to_owned();
        }
        next = match backup.next_chunk() {
            Ok(Some(chunk)) => writer.frame(&frame(chunk)).into(),
            Ok(None) => {
                // Before the end mark is sent, so that whoever has it may begin the next backup at once.
                drop(backup);
                let end = writer.end();
                sent_bytes += end.len() as u64;
                if to_client.blocking_send(end.into()).is_ok() {
                    tracing::info!(sent_bytes, "a backup was taken");
                }
                return;
            }
            Err(error) => break error.to_string(),
        };
    };
    tracing::error!(sent_bytes, %why, "a backup was given up");
    // If nobody reads it, nobody needs it.
    let _ = to_client.blocking_send(writer.failed(&why).into());
}

fn frame(chunk: BackupChunk) -> Frame {
    match chunk {
        BackupChunk::Group(group) => Frame::Group(group.get()),
        BackupChunk::Rows { count, bytes } => Frame::Rows { count, bytes: bytes.into() },
        BackupChunk::End { group, covered } => Frame::GroupEnd { group: group.get(), covered: covered.into() },
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
