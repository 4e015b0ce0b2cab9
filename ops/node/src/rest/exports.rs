//! `GET /api/v1/exports`: all twins, or those of a site or prefix, one JSON object a line.
//!
//! **Invariant:** an export holds a page of twins as they are stored and a few chunks of their lines, however many twins there are
//! and however slowly they are read.

use std::io::Write as _;
use std::sync::Arc;

use actix_web::http::{Method, StatusCode, header};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use twin_cluster::{Cluster, ExportPage, ExportPlace, ExportQuery};
use twin_core::ids::{SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_core::view::{TwinView, ViewError};
use utoipa::ToSchema;

use super::Rest;
use super::batch::streamed;
use super::body::NDJSON;
use super::problem::{ItemProblem, Problem};
use super::query::Query;
use super::segments::parse_site;
use crate::limits::{
    BATCH_CHUNKS_MAX, BATCH_PATIENCE, BATCH_RESULT_BYTES, BATCH_RETRY_AFTER, CURSOR_BYTES_MAX, EXPORT_PAGE_TWINS,
    EXPORTS_MAX, PREFIX_BYTES_MAX, UNREAD_TIMEOUT,
};
use crate::metrics::BatchMetrics;

/// One twin of an export: what `POST /api/v1/imports` takes.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents what is written by hand")]
pub(crate) struct ExportedTwin {
    /// The twin's id.
    id: String,
    /// Its site.
    site: String,
    /// Its version, as its document shows it.
    version: u64,
    /// Its etag, as its document shows it.
    etag: String,
    /// Plain.
    #[schema(value_type = Object)]
    tags: (),
    /// Plain.
    #[schema(value_type = Object)]
    desired: (),
    /// Plain.
    #[schema(value_type = Object)]
    reported: (),
}

/// The last line of an export that is whole.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ExportEnd {
    /// Always true.
    end: bool,
    /// Twins in this answer.
    twins: u64,
    /// Present and true where there is no site as `cursor` names: it never was, or was deleted since. What comes behind it is here.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    cursor_site_missing: bool,
}

/// The last line of an export that the node could not go on with.
#[derive(Serialize, ToSchema)]
pub(crate) struct ExportBroken<'a> {
    /// Always false.
    end: bool,
    #[serde(flatten)]
    problem: ItemProblem<'a>,
}

/// One line of an export.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents what the lines are")]
#[serde(untagged)]
pub(crate) enum ExportLine<'a> {
    Twin(ExportedTwin),
    End(ExportEnd),
    Broken(ExportBroken<'a>),
}

#[utoipa::path(
    get, path = "/api/v1/exports", tag = "bulk", operation_id = "export",
    summary = "All twins, or those of a site or with a prefix, one a line",
    description = "The answer is NDJSON: one twin a line, in the order of sites and ids, and then a last line `{\"end\": true, \"twins\"}`. \
                   An answer without that line is not whole: it was cut off, or ends with `{\"end\": false}` and the problem. To go on, \
                   ask again with `cursor` = `<site>/<id>` of the last whole line that came. Each line is a linearizable reading of its \
                   own: it shows what was committed when the request came, or later. Twins made or deleted meanwhile may or may not be \
                   there. Where lines are not read for 30 s the connection is closed.",
    params(
        ("site" = Option<String>, Query, description = "Only twins of this site", max_length = 64, pattern = "^[A-Za-z0-9._-]*$"),
        ("prefix" = Option<String>, Query, description = "Only twins whose ids begin so", max_length = 127, pattern = r"^[A-Za-z0-9\-._%#*?!(),:=@$'+]*$"),
        ("cursor" = Option<String>, Query, description = "Only what comes after this twin: `<site>/<id>`", max_length = 512),
    ),
    responses(
        (status = 200, description = "One such object a line", body = ExportLine<'_>, content_type = "application/x-ndjson"),
        (status = 404, description = "There is no such site"),
    ),
)]
pub(crate) async fn get(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let query = Query::read(&request, &["site", "prefix", "cursor"])?;
    let site = query.get("site").map(parse_site).transpose()?;
    let prefix = query.get("prefix").map(parse_prefix).transpose()?.unwrap_or_default();
    let cursor = query.get("cursor").map(|cursor| parse_cursor(cursor, site.as_ref())).transpose()?;
    let (cursor_site, after) = cursor.unzip();
    if let Some(site) = &site {
        rest.cluster.site(site).await?;
    }
    if request.method() == Method::HEAD {
        let mut response = HttpResponse::Ok();
        response.content_type(NDJSON).insert_header((header::CACHE_CONTROL, "no-store"));
        return Ok(response.body(actix_web::body::None::new()));
    }
    let Ok(permit) = Arc::clone(&rest.exports).try_acquire_owned() else {
        let detail = format!("{EXPORTS_MAX} exports are under way, which is the limit; try again later");
        let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail).with_limit(EXPORTS_MAX as u64);
        return Err(problem.retry_after(BATCH_RETRY_AFTER));
    };
    let query = ExportQuery { site, prefix, after, limit: EXPORT_PAGE_TWINS };
    // Before the answer begins: a node that cannot read says so with a status.
    let first = rest.cluster.export(query.clone()).await?;
    // No refusal: a site may be deleted between two parts of an export, which goes on behind it.
    let cursor_site_missing = match &cursor_site {
        Some(site) => matches!(rest.cluster.site(site).await, Err(Refusal::SiteNotFound { .. })),
        None => false,
    };
    let (to_client, chunks) = tokio::sync::mpsc::channel(BATCH_CHUNKS_MAX);
    let export = Export {
        cluster: rest.cluster.clone(),
        metrics: rest.metrics.batches.clone(),
        closing: rest.closing.clone(),
        query,
        cursor_site_missing,
        to_client,
        out: Vec::new(),
    };
    export.metrics.exports_open.inc();
    // Not on this worker, whose other requests would wait for it.
    rest.runtime.spawn(async move {
        export.run(first).await;
        drop(permit);
    });
    Ok(streamed(chunks))
}

fn parse_prefix(text: &str) -> Result<String, Problem> {
    // What an id may begin with: also "." and "..", which are none themselves.
    match TwinId::new(&format!("{text}-")) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let problem = Problem::bad_request("bad-prefix", format!("no id can begin with {text:?}: {error}"));
            Err(problem.with_limit(PREFIX_BYTES_MAX as u64))
        }
    }
}

fn parse_cursor(text: &str, site: Option<&SiteId>) -> Result<(SiteId, ExportPlace), Problem> {
    text.split_once('/')
        .filter(|_| text.len() <= CURSOR_BYTES_MAX)
        .and_then(|(site, twin)| Some((SiteId::new(site).ok()?, TwinId::new(twin).ok()?)))
        .filter(|(of, _)| site.is_none_or(|site| site == of))
        .map(|(site, twin)| {
            let place = ExportPlace::at(&site, &twin);
            (site, place)
        })
        .ok_or_else(|| {
            let detail =
                "a cursor is `<site>/<id>` of the last whole line that came, from an export with the same `site`";
            Problem::bad_request("bad-cursor", detail).with_limit(CURSOR_BYTES_MAX as u64)
        })
}

/// One export under way.
struct Export {
    cluster: Cluster,
    metrics: BatchMetrics,
    closing: CancellationToken,
    query: ExportQuery,
    cursor_site_missing: bool,
    to_client: Sender<Bytes>,
    out: Vec<u8>,
}

/// The client is gone, or reads nothing.
struct Unread;

impl Export {
    async fn run(mut self, first: ExportPage) {
        if let Err(Unread) = self.send_all(first).await {
            tracing::info!("an export ends, as it is not read");
        }
        self.metrics.exports_open.dec();
    }

    async fn send_all(&mut self, mut page: ExportPage) -> Result<(), Unread> {
        let mut twins = 0;
        loop {
            for (twin, view) in &page.twins {
                let from = self.out.len();
                if let Err(error) = write_twin(twin, view, &mut self.out) {
                    self.out.truncate(from);
                    let problem = Problem::internal(format!("twin {twin} cannot be read: {error}"));
                    return self.end(&ExportBroken { end: false, problem: problem.of_item() }).await;
                }
                twins += 1;
                self.metrics.exported.inc();
                if self.out.len() >= BATCH_RESULT_BYTES {
                    self.send().await?;
                }
            }
            let Some(next) = page.next else { break };
            self.query.after = Some(next);
            page = match self.read().await {
                Ok(page) => page,
                Err(refusal) => {
                    let problem = Problem::from(refusal);
                    return self.end(&ExportBroken { end: false, problem: problem.of_item() }).await;
                }
            };
        }
        let cursor_site_missing = self.cursor_site_missing;
        self.end(&ExportEnd { end: true, twins, cursor_site_missing }).await
    }

    /// The next page. A node that cannot read at the moment has some time.
    async fn read(&self) -> Result<ExportPage, Refusal> {
        let give_up_at = Instant::now() + BATCH_PATIENCE;
        loop {
            if self.closing.is_cancelled() {
                let retry_after_ms = BATCH_RETRY_AFTER.as_millis() as u64;
                return Err(Refusal::Unavailable { message: "the node is stopping".to_owned(), retry_after_ms });
            }
            match self.cluster.export_on(self.query.clone()).await {
                Err(refusal) if Instant::now() < give_up_at => {
                    let Some(pause) = refusal.retry_after() else { return Err(refusal) };
                    tokio::select! {
                        () = sleep_until(Instant::now() + pause) => {}
                        () = self.closing.cancelled() => {}
                    }
                }
                read => return read,
            }
        }
    }

    async fn end(&mut self, line: &impl Serialize) -> Result<(), Unread> {
        if let Err(error) = serde_json::to_writer(&mut self.out, line) {
            // Without its last line the answer is not whole, which is so.
            tracing::error!(%error, "an export's last line cannot be written as JSON");
        }
        self.out.push(b'\n');
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Unread> {
        let chunk = std::mem::take(&mut self.out).into();
        match timeout(UNREAD_TIMEOUT, self.to_client.send(chunk)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Unread),
        }
    }
}

fn write_twin(twin: &TwinId, view: &TwinView, out: &mut Vec<u8>) -> Result<(), ViewError> {
    let view = view.open()?;
    let office = view.office()?.ok_or_else(|| ViewError::Record("it is not for the back office".to_owned()))?;
    let (site, version, etag) = (office.site, view.version(), view.steering_etag());
    // Ids hold nothing that JSON escapes.
    let _ = write!(out, r#"{{"id":"{twin}","site":"{site}","version":{version},"etag":"{etag}","tags":"#);
    view.write_tags_json(out)?;
    out.extend_from_slice(br#","desired":"#);
    view.write_plain_desired_json(out)?;
    out.extend_from_slice(br#","reported":"#);
    view.write_plain_reported_json(out)?;
    out.extend_from_slice(b"}\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_a_site_and_an_id_of_the_same_export() {
        let site = |id| SiteId::new(id).unwrap();
        let at = (site("s"), ExportPlace::at(&site("s"), &TwinId::new("a#1").unwrap()));
        assert_eq!(parse_cursor("s/a#1", None).unwrap(), at);
        assert_eq!(parse_cursor("s/a#1", Some(&site("s"))).unwrap(), at);
        assert!(parse_cursor("s/a#1", Some(&site("other"))).is_err());
        for bad in ["", "s", "s/", "/a", "s/a/b", "s t/a", &format!("s/{}", "x".repeat(600))] {
            assert!(parse_cursor(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_what_an_id_can_begin_with() {
        for good in [".", "..", "a%", &"x".repeat(127)] {
            assert_eq!(parse_prefix(good).unwrap(), good);
        }
        for bad in ["a b", "a/b", &"x".repeat(128)] {
            assert_eq!(parse_prefix(bad).unwrap_err().response().status(), 400, "{bad}");
        }
    }
}
