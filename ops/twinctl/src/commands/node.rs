//! `twinctl node`: the nodes of the cluster and their Raft groups.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::api_path::ApiPath;
use crate::cli::Node;
use crate::client::Client;
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::table::Table;

/// All nodes, each as it was sent.
#[derive(Deserialize)]
struct Nodes {
    nodes: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeView {
    name: String,
    role: String,
    http: Option<String>,
    quic: Option<String>,
    started_at: Option<String>,
    groups: Vec<GroupView>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupView {
    name: String,
    leader: bool,
    term: u64,
    last_log: u64,
    applied: u64,
}

/// Carries out `twinctl node ...`.
pub(crate) fn run(client: &Client, output: Output, command: Node) -> Result<(), Failure> {
    match command {
        Node::Ls => {
            let answer = client.get(ApiPath::new("nodes"))?;
            let list: Nodes = answer.read()?;
            if output.json {
                return list.nodes.iter().try_for_each(|node| output::line(node.get()));
            }
            let mut nodes = Table::new(&["NODE", "ROLE", "HTTP", "QUIC", "STARTED"]);
            let mut groups = Table::new(&["GROUP", "NODE", "LEADS", "TERM", "LAST LOG", "APPLIED"]);
            for node in &list.nodes {
                let node: NodeView =
                    serde_json::from_str(node.get()).map_err(|error| answer.not_understood(error.to_string()))?;
                for group in node.groups {
                    groups.row([
                        group.name,
                        node.name.clone(),
                        if group.leader { "yes" } else { "no" }.to_owned(),
                        group.term.to_string(),
                        group.last_log.to_string(),
                        group.applied.to_string(),
                    ]);
                }
                let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
                nodes.row([node.name, node.role, or_dash(node.http), or_dash(node.quic), or_dash(node.started_at)]);
            }
            output::text(&format!("{}\n{}", nodes.render(), groups.render()))
        }
    }
}
