//! How gateways learn at once that their node was killed and started again.
//!
//! A killed process says no goodbye, and without one a gateway would wait out the whole idle timeout. When the next process
//! gets a packet of a connection that it does not know, it answers with QUIC's stateless reset. The gateway believes it only
//! if it carries the token that the killed process had promised for that connection, so the key of these tokens must outlive
//! the process, and connection ids of the killed process must not be dropped as foreign.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;

use crate::limits::{CONNECTION_ID_BYTES, STATELESS_RESET_INTERVAL_MIN};

/// The key of a node's reset tokens, the same in each of its lives. Whoever has it can end the node's connections.
#[derive(Clone)]
pub struct ResetKey(hmac::Key);

impl ResetKey {
    /// Derives it from a secret that the node keeps.
    pub fn derive(secret: &[u8]) -> Self {
        let of_secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derived = hmac::sign(&of_secret, b"twinmesh quic stateless reset v1");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    /// An endpoint that resets what an earlier one with this key left behind. `nonce` must be new for each endpoint: it makes
    /// connection ids that no other process makes.
    pub(crate) fn endpoint_config(&self, nonce: [u8; 32]) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(self.0.clone()));
        config.min_reset_interval(STATELESS_RESET_INTERVAL_MIN);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &nonce);
        config.cid_generator(move || Box::new(ConnectionIds { key: key.clone(), made: 0 }));
        config
    }
}

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey(..)")
    }
}

/// Ids that nobody can guess or link. Unlike the library's own they carry no mark of the process that made them, by which
/// another would drop them.
struct ConnectionIds {
    key: hmac::Key,
    made: u64,
}

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.made += 1;
        let tag = hmac::sign(&self.key, &self.made.to_be_bytes());
        let id = tag.as_ref().get(..CONNECTION_ID_BYTES).unwrap_or_default();
        ConnectionId::new(id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_ids_are_all_different() {
        let mut ids = ConnectionIds { key: hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]), made: 0 };
        let made: std::collections::HashSet<_> = (0..1000).map(|_| ids.generate_cid()).collect();
        assert_eq!(made.len(), 1000);
        assert!(made.iter().all(|id| id.len() == CONNECTION_ID_BYTES));
    }

    #[test]
    fn a_reset_key_shows_nothing_of_itself() {
        assert_eq!(format!("{:?}", ResetKey::derive(b"secret")), "ResetKey(..)");
    }
}
