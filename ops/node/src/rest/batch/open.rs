//! The request's head, and what answers it: the same for every kind of batch.

use std::convert::Infallible;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::mpsc;

use super::super::Rest;
use super::super::body::{Accepts, NDJSON, check_content_type};
use super::super::guard::audit_end;
use super::super::once::keyless;
use super::super::problem::Problem;
use super::super::query::Query;
use super::feed::feed;
use super::job::Job;
use super::run::Batch;
use super::tally::Tally;
use crate::limits::{BATCH_CHUNKS_MAX, BATCH_RETRY_AFTER, BATCHES_MAX};
use crate::metrics::ItemCounts;

/// Begins a batch.
pub(super) fn open(
    request: &HttpRequest,
    payload: Payload,
    rest: &Rest,
    job: impl Job,
    counts: ItemCounts,
) -> Result<HttpResponse, Problem> {
    Query::read(request, &[])?;
    keyless(request, "a batch (where items may have an idempotencyKey each)")?;
    check_content_type(request, Accepts::Ndjson)?;
    let Ok(permit) = Arc::clone(&rest.batches).try_acquire_owned() else {
        let detail = format!("{BATCHES_MAX} batches are under way, which is the limit; try again later");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(BATCHES_MAX as u64);
        return Err(problem.retry_after(BATCH_RETRY_AFTER));
    };
    let (to_batch, chunks) = mpsc::channel(BATCH_CHUNKS_MAX);
    let (to_client, results) = mpsc::channel(BATCH_CHUNKS_MAX);
    let (tally, ended) = Tally::new();
    audit_end(request, ended);
    let batch = Batch::new(job, rest, (counts, tally), chunks, to_client);
    // Not on this worker, whose other requests would wait for it; only the body cannot leave it.
    let (pace, cluster) = (Arc::clone(&rest.pace), rest.cluster.clone());
    rest.runtime.spawn(async move {
        let _open = pace.enter(&cluster);
        batch.run().await;
        drop(permit);
    });
    actix_web::rt::spawn(feed(payload, to_batch));
    Ok(streamed(results))
}

/// An answer of lines, as they come.
pub(crate) fn streamed(chunks: mpsc::Receiver<Bytes>) -> HttpResponse {
    let lines = futures_util::stream::unfold(chunks, async |mut chunks: mpsc::Receiver<Bytes>| {
        let chunk = chunks.recv().await?;
        Some((Ok::<_, Infallible>(chunk), chunks))
    });
    HttpResponse::Ok()
        .content_type(NDJSON)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Proxies of nginx's kind would hold lines back.
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(lines)
}
