//! `POST /api/v1/twins:batchGet`: reading many twins.

use std::io::Write as _;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::Cluster;
use twin_core::command::{Answer, Command};
use twin_core::ids::TwinId;
use twin_core::numbers::WallTime;
use twin_core::view::{Audience, TwinView};
use utoipa::ToSchema;

use super::super::Rest;
use super::super::document::{TwinBody, render_view};
use super::super::problem::Problem;
use super::item::{of_twin, parse};
use super::job::{BadItem, Item, Job};
use super::open::open;
use super::result::BatchRefused;
use crate::limits::{GET_LINE_BYTES_MAX, GET_VIEW_BYTES_MAX};

/// One line: the twin that is asked for.
#[derive(ToSchema)]
#[allow(dead_code, reason = "documents the shape of a line that is read by hand, to name what is wrong in it")]
#[serde(deny_unknown_fields)]
pub(crate) struct GetItem {
    /// The twin's id.
    #[schema(min_length = 1, max_length = 128, pattern = r"^(?!\.{1,2}$)[A-Za-z0-9\-._%#*?!(),:=@$'+]+$")]
    id: String,
}

/// One line of the answer, for a twin that exists.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents what is written by hand")]
pub(crate) struct GetDone<'a> {
    /// The twin's id.
    id: &'a str,
    /// Always 200.
    status: u16,
    /// As `GET /api/v1/twins/{id}` shows it.
    twin: TwinBody<'a>,
}

/// One line of the answer.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "documents what the results are")]
#[serde(untagged)]
pub(crate) enum GetResult<'a> {
    Done(GetDone<'a>),
    Refused(BatchRefused<'a>),
}

#[utoipa::path(
    post, path = "/api/v1/twins:batchGet", tag = "twins", operation_id = "batchGetTwins",
    summary = "Reads any number of twins, one id a line, answered line by line",
    description = "The body is NDJSON: `{\"id\"}` a line, any number of lines, blank ones skipped. The answer is NDJSON, too: exactly one \
                   result a line for each item, in the order of the items, while the request is still being read; when as many \
                   results as items came, all is done. Each result is a linearizable reading of its own: it shows what was \
                   committed before its line was sent. An id that is none, or a twin that does not exist, is a result. Read the \
                   answer while you send: where results are not read no more items are taken, and after 30 s the connection is closed.",
    request_body(content = GetItem, content_type = "application/x-ndjson", description = "One such object a line, of at most 4 KiB"),
    responses((status = 200, description = "One such object a line", body = GetResult<'_>, content_type = "application/x-ndjson")),
)]
pub(crate) async fn get(request: HttpRequest, payload: Payload, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    let counts = rest.metrics.batches.gets.clone();
    open(&request, payload, &rest, Get { cluster: rest.cluster.clone() }, counts)
}

struct Get {
    cluster: Cluster,
}

/// A twin as it was read: rendered when its turn comes, as JSON is several times as long.
struct Read {
    view: TwinView,
    last_activity: WallTime,
}

impl Job for Get {
    type Outcome = Read;

    const LINE_BYTES_MAX: usize = GET_LINE_BYTES_MAX;
    const OUTCOME_BYTES_MAX: usize = GET_VIEW_BYTES_MAX;

    fn read(&self, line: &[u8]) -> Result<Option<Item>, BadItem> {
        let (twin, _) = of_twin(parse(line)?, &["id"], "an item")?;
        Ok(Some(Item { twin, command: Command::View { audience: Audience::BackOffice } }))
    }

    fn settle(&self, answer: Answer) -> Result<Read, Problem> {
        match answer {
            Answer::View { view, last_activity } => Ok(Read { view, last_activity }),
            other => Err(Problem::internal(format!("the twin answered {other:?} where a view was due"))),
        }
    }

    fn weigh(&self, outcome: &Read) -> usize {
        outcome.view.packed().len()
    }

    fn write(&self, twin: &TwinId, Read { view, last_activity }: &Read, out: &mut Vec<u8>) -> Result<(), Problem> {
        let is_connected = |gateway: &_| self.cluster.is_gateway_connected(gateway);
        let view = view.open()?;
        let document = render_view(twin, &view, &view.steering_etag(), *last_activity, is_connected)?;
        // Ids hold nothing that JSON escapes.
        let _ = write!(out, r#"{{"id":"{twin}","status":200,"twin":"#);
        out.extend_from_slice(&document);
        out.push(b'}');
        Ok(())
    }
}
