//! `/api/v1/nodes`.

use actix_web::http::StatusCode;
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;
use twin_cluster::{GatewaysSummary, GroupView, NodeView};
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
    /// The gateways with sessions on it.
    gateways: GatewaysBody,
}

/// The gateways of a node in sum, by their last heartbeats.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NodeGateways)]
pub(crate) struct GatewaysBody {
    /// How many.
    connected: u64,
    /// Of them, those that proved themselves by a certificate.
    by_certificate: u64,
    /// Messages in their outboxes.
    backlog_messages: u64,
    /// Bytes in their outboxes.
    backlog_bytes: u64,
    /// Age of the oldest message in any of them; 0: there is none.
    oldest_message_ms: u64,
    /// Those that run on their batteries.
    on_battery: u64,
    /// Lowest charge of any battery; null: none tells of one.
    battery_percent_min: Option<u8>,
}

impl From<GatewaysSummary> for GatewaysBody {
    fn from(summary: GatewaysSummary) -> Self {
        Self {
            connected: summary.connected,
            by_certificate: summary.by_certificate,
            backlog_messages: summary.backlog_messages,
            backlog_bytes: summary.backlog_bytes,
            oldest_message_ms: summary.oldest_message_ms,
            on_battery: summary.on_battery,
            battery_percent_min: summary.battery_percent_min,
        }
    }
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
            gateways: node.gateways.into(),
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
