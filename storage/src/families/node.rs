//! Nodes, in the directory: role and addresses.
//!
//! Key: the node's number, eight bytes, big-endian. Key format version 1.

use bytes::Bytes;

use super::{Family, KeyError};
use crate::consensus::NodeId;

/// This family.
pub const FAMILY: Family = Family::Node;

/// The row of one node.
pub fn key(node: NodeId) -> Bytes {
    Bytes::copy_from_slice(&node.get().to_be_bytes())
}

/// The node that a row belongs to.
pub fn decode(key: &[u8]) -> Result<NodeId, KeyError> {
    <[u8; 8]>::try_from(key)
        .map(|number| NodeId::new(u64::from_be_bytes(number)))
        .map_err(|_| KeyError::new(FAMILY, key, "not a node number of eight bytes"))
}
