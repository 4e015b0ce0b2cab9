//! A node in a temporary directory.

use std::path::Path;

use tempfile::TempDir;
use twin_node::{Node, NodeOptions};

use crate::http::Client;

pub struct World {
    _dir: TempDir,
    pub node: Node,
}

impl World {
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let node = start_in(dir.path()).await;
        Self { _dir: dir, node }
    }

    /// The node, stopped and started again.
    pub async fn restart(self) -> Self {
        let Self { _dir: dir, node } = self;
        node.shutdown().await;
        let node = start_in(dir.path()).await;
        Self { _dir: dir, node }
    }

    pub fn client(&self) -> Client {
        client_of(&self.node)
    }
}

pub async fn start_in(dir: &Path) -> Node {
    let node = Node::start(NodeOptions::local(dir.join("data"))).await.unwrap();
    node.ready().await;
    node
}

pub fn client_of(node: &Node) -> Client {
    let addr = node.http_url().strip_prefix("http://").unwrap().parse().unwrap();
    Client { addr, token: node.admin_token().to_owned() }
}
