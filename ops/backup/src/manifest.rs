//! Whose backup it is.

use serde::{Deserialize, Serialize};

/// The first frame of a backup, as JSON. What a newer release adds is skipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Id of the node that it was taken of.
    pub node: String,
    /// When that was, by that node's clock, as RFC 3339 text. For people.
    pub created_at: String,
    /// The node's release.
    pub release: String,
    /// Format of the rows: that of the storage's files.
    pub storage_format: u32,
    /// The life of the cluster's data. What is restored is of a later one.
    pub lineage: u64,
    /// Is the CA's key among the files?
    pub keys: bool,
    /// About how many rows there will be.
    pub rows_estimate: u64,
    /// About how many bytes.
    pub bytes_estimate: u64,
    /// The salt under which all that follows is sealed, in hexadecimal digits; `None`: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
}
