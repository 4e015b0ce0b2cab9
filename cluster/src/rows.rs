//! Rows that the cluster keeps besides the twins': MessagePack records behind one byte of format version.

use serde::Serialize;
use serde::de::DeserializeOwned;
use twin_core::ids::SiteId;
use twin_core::numbers::{Boot, CellId, Floor, OutboxId, WallTime};
use twin_core::record;
use twin_core::used_keys::UsedKeys;
use twin_transports::auth::GatewayKey;

use crate::view::{ConflictPolicy, Enrolment};

/// Format version of every row here. A new one is needed only when a record can't just grow at its end.
const FORMAT: u8 = 1;

/// A row that this release cannot read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    /// Nothing in it.
    #[error("a {what} row is empty")]
    Empty {
        /// Which kind of row.
        what: &'static str,
    },
    /// Written by a newer release.
    #[error("a {what} row has format {found}, this release knows {FORMAT}: upgrade the node")]
    Format {
        /// Which kind of row.
        what: &'static str,
        /// The format found.
        found: u8,
    },
    /// Not a record of its kind.
    #[error("a {what} row is damaged: {source}; restore a backup with `twind restore --from FILE --data-dir DIR`")]
    Damaged {
        /// Which kind of row.
        what: &'static str,
        /// What the decoder says.
        source: rmp_serde::decode::Error,
    },
}

/// Encodes a row.
pub fn encode(row: &impl Serialize) -> bytes::Bytes {
    let mut bytes = vec![FORMAT];
    // Writing plain records to memory cannot fail.
    if let Err(error) = rmp_serde::encode::write(&mut bytes, row) {
        unreachable!("a record always encodes: {error}");
    }
    bytes.into()
}

/// Decodes a row.
pub fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, RowError> {
    match bytes.split_first() {
        None => Err(RowError::Empty { what }),
        Some((&FORMAT, body)) => rmp_serde::from_slice(body).map_err(|source| RowError::Damaged { what, source }),
        Some((&found, _)) => Err(RowError::Format { what, found }),
    }
}

record! {
    /// The cluster itself, in the directory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct ClusterRow {
        /// 16 random bytes in hexadecimal, made at the first start.
        pub cluster_id: String,
        /// Product key that credentials of this cluster carry.
        pub product_key: String,
        /// SHA-256 of the token that a data directory handed over last: it is not taken over a second time.
        pub handed_over: Option<[u8; 32]> = None,
        /// Highest epoch of any site that was deleted: a site made now begins above it, so that owners stay in order when one is
        /// made again.
        pub site_epoch_floor: u64 = 0,
        /// Idempotency keys that made tokens. Here, and not with the tokens: a repeat must not make one again that was revoked.
        pub token_keys: UsedKeys = UsedKeys::default(),
    }
}

record! {
    /// A node, in the directory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct NodeRow {
        /// For people.
        pub name: String,
        /// `core` or `edge`.
        pub role: String,
    }
}

record! {
    /// A cell, in the directory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct CellRow {
        /// Its Raft group.
        pub cell: CellId,
        /// A cell's life.
        pub lineage: u64,
        /// Does it hold the home slots?
        pub home: bool,
    }
}

record! {
    /// A site, in the directory.
    #[derive(Clone, Debug, PartialEq)]
    pub struct SiteRow {
        /// Where its twins are stored.
        pub cell: CellId,
        /// Rises with each move.
        pub epoch: u64,
        /// Who may have a twin in it.
        pub enrolment: Enrolment,
        /// What becomes of two gateways with one credential.
        pub conflict: ConflictPolicy = ConflictPolicy::Replace,
        /// On its way out with all that hangs on it: nothing new comes in, and the row goes last.
        pub deleting: bool = false,
        /// Idempotency keys of its changes.
        pub keys: UsedKeys = UsedKeys::default(),
    }
}

record! {
    /// A gateway, in its site's cell: what its store's box needs to let it in when the WAN is gone.
    #[derive(Clone, Debug, PartialEq)]
    pub struct GatewayRow {
        /// When its credentials were made.
        pub created_at: WallTime,
        /// Product key of the credentials.
        pub product_key: String,
        /// Ed25519 public key, or the SHA-256 of a certificate's. What is secret of either is stored nowhere.
        pub public_key: [u8; 32],
        /// Outbox of the last hello.
        pub outbox: Option<OutboxId>,
        /// Boot of the last hello.
        pub boot: Boot,
        /// Nonce of that boot: a reconnect has the same.
        pub boot_nonce: [u8; 16],
        /// Outboxes used before, newest last: a disk from the drawer is not taken for a new one.
        pub retired: Vec<OutboxId> = Vec::new(),
        /// The key before, while it still works.
        pub ending: Option<EndingKey> = None,
        /// Its credentials were removed. The row stays while there is room, for a gateway that gets the same name: its outboxes may be
        /// the same as well.
        pub removed: bool = false,
        /// It is a certificate's key.
        pub by_certificate: bool = false,
        /// Idempotency keys that made credentials for it.
        pub keys: UsedKeys = UsedKeys::default(),
    }
}

record! {
    /// A key of a gateway that was replaced, and works a while longer.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EndingKey {
        /// As in [`GatewayRow`].
        pub public_key: [u8; 32],
        /// From then on it is refused. (As with admin tokens: the wall clock decides about credentials, and about nothing else.)
        pub until: WallTime,
        /// It is a certificate's key.
        pub by_certificate: bool = false,
    }
}

/// **Invariant:** a key of one kind is never compared with one of the other.
fn key(bytes: [u8; 32], by_certificate: bool) -> GatewayKey {
    if by_certificate { GatewayKey::Certificate(bytes) } else { GatewayKey::Secret(bytes) }
}

fn parts(key: GatewayKey) -> ([u8; 32], bool) {
    match key {
        GatewayKey::Secret(bytes) => (bytes, false),
        GatewayKey::Certificate(bytes) => (bytes, true),
    }
}

impl EndingKey {
    /// The key that works until then.
    pub fn new(key: GatewayKey, until: WallTime) -> Self {
        let (public_key, by_certificate) = parts(key);
        Self { public_key, until, by_certificate }
    }

    /// The key.
    pub fn key(&self) -> GatewayKey {
        key(self.public_key, self.by_certificate)
    }
}

impl GatewayRow {
    /// Its key.
    pub fn key(&self) -> GatewayKey {
        key(self.public_key, self.by_certificate)
    }

    /// Gives it another key.
    pub fn set_key(&mut self, key: GatewayKey) {
        (self.public_key, self.by_certificate) = parts(key);
    }

    /// The key before, if it works now.
    pub fn ending_now(&self, now: WallTime) -> Option<EndingKey> {
        self.ending.filter(|ending| now < ending.until)
    }

    /// May a session be open that was opened with this key?
    pub fn takes(&self, key: &GatewayKey, now: WallTime) -> bool {
        self.key() == *key || self.ending_now(now).is_some_and(|ending| ending.key() == *key)
    }
}

record! {
    /// A home slot.
    #[derive(Clone, Debug, PartialEq)]
    pub struct HomeSlotRow {
        /// Everything of an id created now starts above it.
        pub floor: Floor,
    }
}

impl SiteRow {
    /// A site as it is made, where those deleted before had epochs up to `epoch_floor`.
    pub fn new(enrolment: Enrolment, epoch_floor: u64) -> Self {
        let (cell, conflict) = (crate::FIRST_CELL, ConflictPolicy::default());
        Self { cell, epoch: epoch_floor + 1, enrolment, conflict, deleting: false, keys: UsedKeys::default() }
    }
}

/// The site that always exists.
pub fn default_site() -> SiteId {
    SiteId::default_site()
}
