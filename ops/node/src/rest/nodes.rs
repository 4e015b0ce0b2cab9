//! `/api/v1/nodes`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::{GroupView, NodeView};
use utoipa::ToSchema;

use super::Rest;
use super::document::{json, time};
use super::problem::Problem;
use super::query::Query;

/// All nodes.
#[derive(Serialize, ToSchema)]
#[schema(as = Nodes)]
pub(crate) struct NodesBody {
    nodes: Vec<NodeBody>,
}

/// A node.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Node)]
pub(crate) struct NodeBody {
    name: String,
    /// `core` or `edge`.
    role: String,
    /// Where its REST listens.
    http: Option<String>,
    /// Where its QUIC endpoint listens.
    quic: Option<String>,
    #[schema(format = DateTime)]
    started_at: Option<String>,
    /// Its Raft groups.
    groups: Vec<GroupBody>,
}

/// A Raft group on a node.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Group)]
pub(crate) struct GroupBody {
    /// Its number; 0 is the directory.
    group: u32,
    name: String,
    /// Does it lead here?
    leader: bool,
    /// Raft term.
    term: u64,
    /// Index of the last log entry.
    last_log: u64,
    /// Index of the last applied entry.
    applied: u64,
}

impl From<GroupView> for GroupBody {
    fn from(group: GroupView) -> Self {
        Self {
            group: group.group,
            name: group.name,
            leader: group.leader,
            term: group.term,
            last_log: group.last_log,
            applied: group.applied,
        }
    }
}

impl NodeBody {
    /// The only node there is knows its addresses only once it listens, which is after the cluster part started.
    fn new(node: NodeView, rest: &Rest) -> Self {
        Self {
            name: node.name,
            role: node.role,
            http: node.http.or_else(|| Some(rest.http_url.clone())),
            quic: node.quic.or_else(|| Some(rest.quic_addr.clone())),
            started_at: time(node.started_at),
            groups: node.groups.into_iter().map(Into::into).collect(),
        }
    }
}

#[utoipa::path(
    get, path = "/api/v1/nodes", tag = "nodes", operation_id = "listNodes", summary = "The nodes and their Raft groups",
    responses((status = 200, description = "The nodes", body = NodesBody)),
)]
pub(crate) async fn list(request: HttpRequest, rest: Data<Rest>) -> Result<HttpResponse, Problem> {
    Query::read(&request, &[])?;
    let nodes = rest.cluster.nodes().await?.into_iter().map(|node| NodeBody::new(node, &rest)).collect();
    json(StatusCode::OK, &NodesBody { nodes })
}
