//! What a node is given.

use std::net::SocketAddr;
use std::path::PathBuf;

use twin_cluster::ClusterOptions;
use twin_storage::StateKey;
use twin_transports::swap::CertificateFiles;
use twin_transports::tls::SERVER_NAME;

/// Options of [`Node::start`](crate::Node::start).
#[derive(Clone)]
pub struct NodeOptions {
    /// Where everything durable is: the two data files, the CA and the admin token. Made if absent. One node a directory.
    pub data_dir: PathBuf,
    /// Begin with no state in a directory that was a node's and has lost it; refused where there is state. For one start.
    pub begin_empty: bool,
    /// Begin with a new CA in a directory that was a node's and has lost its own; refused where there is one. For one start.
    pub new_ca: bool,
    /// Seals twin values and the log on the disk, and backups; `None`: they are not. As the directory began, so it is opened.
    pub state_key: Option<StateKey>,
    /// Where the REST listens. Port 0 lets the system choose. Beyond loopback it is served over TLS only.
    pub http: SocketAddr,
    /// Where gateways connect by QUIC. Port 0 lets the system choose.
    pub quic: SocketAddr,
    /// The name that gateways verify in the node's certificate, whatever address they dial.
    pub server_name: String,
    /// More names and addresses for the node's certificate, for REST clients who come by them.
    pub tls_names: Vec<String>,
    /// What REST clients beyond loopback are shown instead of the certificate of the node's own CA. Read again by a reload.
    pub rest_certificate: Option<CertificateFiles>,
    /// Name of the node, caps and budgets. The addresses in it are filled in by the node.
    pub cluster: ClusterOptions,
}

impl NodeOptions {
    /// A node on loopback with ports that the system chooses.
    pub fn local(data_dir: impl Into<PathBuf>) -> Self {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            data_dir: data_dir.into(),
            begin_empty: false,
            new_ca: false,
            state_key: None,
            http: any,
            quic: any,
            server_name: SERVER_NAME.to_owned(),
            tls_names: Vec::new(),
            rest_certificate: None,
            cluster: ClusterOptions::default(),
        }
    }
}
