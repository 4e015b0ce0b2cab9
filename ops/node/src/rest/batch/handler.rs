//! The request's head, and what answers it.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::super::Rest;
use super::super::body::{Accepts, NDJSON, check_content_type};
use super::super::once::keyless;
use super::super::problem::{ItemProblem, Problem};
use super::super::query::Query;
use super::super::section_schema::SectionInput;
use super::feed::feed;
use super::run::Batch;
use crate::limits::{BATCH_CHUNKS_MAX, BATCH_RETRY_AFTER, BATCHES_MAX};

/// One line of a batch: an RFC 7396 merge patch of the steering part of one twin.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a line that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BatchItem {
    /// The twin's id.
    #[schema(min_length = 1, max_length = 128, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9\-._%#*?!(),:=@$'+]+$")]
    id: String,
    /// Merged into desired; null empties it.
    #[schema(value_type = Option<SectionInput>)]
    desired: (),
    /// Merged into tags; null empties them.
    #[schema(value_type = Option<SectionInput>)]
    tags: (),
    /// As the header `If-Match`: an etag, several, or `*`.
    if_match: Option<String>,
    /// As the header `Idempotency-Key` of a request for the twin: however often the item is sent, in this batch or another, it takes
    /// effect once.
    #[schema(min_length = 1, max_length = 64, pattern = r"^(?!\.{1,2}$)[!#-\[\]-~]+$")]
    idempotency_key: Option<String>,
}

/// One line of the answer, for an item that was carried out.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents what `result` writes")]
#[serde(rename_all = "camelCase")]
pub(crate) struct BatchDone {
    /// The twin's id.
    id: String,
    /// Always 200: committed.
    status: u16,
    /// The twin's version, as its document shows it.
    version: u64,
    /// The version of desired: what the event `applied` names once the device has followed.
    desired_version: u64,
    /// The twin's etag, as its document shows it.
    etag: String,
    /// True where the item's key was known: it was carried out before, with these versions, and not again.
    replayed: Option<bool>,
}

/// One line of the answer, for an item that was not carried out; nothing of it was.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents what `result` writes")]
pub(crate) struct BatchRefused {
    /// The item's id, if it can be told.
    id: Option<String>,
    /// Which line of the request, from 1.
    line: u64,
    #[serde(flatten)]
    problem: ItemProblem<'static>,
}

/// One line of the answer.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents what `result` writes")]
#[serde(untagged)]
pub(crate) enum BatchResult {
    Done(BatchDone),
    Refused(BatchRefused),
}

#[utoipa::path(
    post, path = "/api/v1/twins:batchUpdate", tag = "twins", operation_id = "batchUpdateTwins",
    summary = "Changes any number of twins, one item a line, answered line by line",
    description = "The body is NDJSON: one item a line, any number of lines, blank ones skipped. The answer is NDJSON, too: exactly \
                   one result a line for each item, in the order of the items, while the request is still being read; when as many \
                   results as items came, all is done. An item that is refused does not end the stream and changes nothing. Items of \
                   one twin take effect in their order. Read the answer while you send: where results are not read no more items are \
                   taken, and after 30 s the connection is closed. Up to 4,096 items of together 2 MiB may be sent before \
                   anything is read.",
    request_body(content = BatchItem, content_type = "application/x-ndjson", description = "One such object a line, of at most 256 KiB"),
    responses((status = 200, description = "One such object a line", body = BatchResult, content_type = "application/x-ndjson")),
)]
pub(crate) async fn update(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    keyless(&request, "a batch (whose items have an idempotencyKey each)")?;
    check_content_type(&request, Accepts::Ndjson)?;
    let Ok(permit) = Arc::clone(&rest.batches).try_acquire_owned() else {
        let detail = format!("{BATCHES_MAX} batches are under way, which is the limit; try again later");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(BATCHES_MAX as u64);
        return Err(problem.retry_after(BATCH_RETRY_AFTER));
    };
    let (to_batch, chunks) = mpsc::channel(BATCH_CHUNKS_MAX);
    let (to_client, results) = mpsc::channel(BATCH_CHUNKS_MAX);
    let pace = Arc::clone(&rest.pace);
    let batch =
        Batch::new(rest.cluster.clone(), rest.metrics.batches.clone(), pace, rest.closing.clone(), chunks, to_client);
    // Not on this worker, whose other requests would wait for it; only the body cannot leave it.
    let (pace, cluster) = (Arc::clone(&rest.pace), rest.cluster.clone());
    rest.runtime.spawn(async move {
        let _open = pace.enter(&cluster);
        batch.run().await;
        drop(permit);
    });
    actix_web::rt::spawn(feed(payload, to_batch));
    let lines = futures_util::stream::unfold(results, async |mut results: mpsc::Receiver<Bytes>| {
        let chunk = results.recv().await?;
        Some((Ok::<_, Infallible>(chunk), results))
    });
    Ok(HttpResponse::Ok()
        .content_type(NDJSON)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies of nginx's kind would hold results back.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(lines))
}
