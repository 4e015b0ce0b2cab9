//! Gateways of a cell's sites: credentials, and the boot that each committed with its last hello.

use std::sync::Arc;
use std::time::Duration;

use ring::rand::SecureRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_core::numbers::{Boot, WallTime};
use twin_core::refusal::Refusal;
use twin_core::used_keys::{KeyedChange, UsedKeys};
use twin_storage::RowChange;
use twin_storage::families::{Family, gateway as gateway_family};
use twin_transports::auth::GatewayKey;
use twin_transports::server::{GatewayCredential, VerifiedHello};

use crate::cell::Cell;
use crate::limits::{GATEWAY_KEYS_MAX, SITE_GATEWAYS_MAX};
use crate::rows::{EndingKey, GatewayRow, decode, encode};
use crate::view::ConflictPolicy;

/// Outboxes of a gateway that are remembered as used before.
const RETIRED_OUTBOXES_MAX: usize = 16;
/// Locks for read-modify-write of gateway rows, by hash.
const LOCKS: usize = 64;

/// The gateways of a cell.
pub struct Gateways {
    cell: Arc<Cell>,
    /// New gateways come one at a time, as one may take the place of another's row. Taken before those below.
    adding: tokio::sync::Mutex<()>,
    writing: Vec<tokio::sync::Mutex<()>>,
}

impl Gateways {
    /// Of this cell.
    pub fn new(cell: Arc<Cell>) -> Self {
        Self {
            cell,
            adding: tokio::sync::Mutex::default(),
            writing: (0..LOCKS).map(|_| tokio::sync::Mutex::new(())).collect(),
        }
    }

    async fn lock(&self, gateway: &GatewayId) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::hash::DefaultHasher::new();
        gateway.hash(&mut hasher);
        let writing = self.writing[hasher.finish() as usize % LOCKS].lock().await;
        // Whoever had it before may have written what is not applied yet.
        self.cell.settled()?;
        Ok(writing)
    }

    /// A gateway's row, as committed and applied here.
    pub fn get(&self, gateway: &GatewayId) -> Result<Option<GatewayRow>, Refusal> {
        Ok(self.row(gateway)?.filter(|row| !row.removed))
    }

    /// The same of one that was removed.
    fn row(&self, gateway: &GatewayId) -> Result<Option<GatewayRow>, Refusal> {
        let key = gateway_family::key(gateway);
        let row = self.cell.reader().get(Family::Gateway, &key).map_err(unreadable)?;
        row.map(|row| decode("gateway", &row)).transpose().map_err(unreadable)
    }

    /// What a hello of this gateway must prove.
    pub fn credential(&self, gateway: &GatewayId, now: WallTime) -> Result<Option<GatewayCredential>, Refusal> {
        Ok(self.get(gateway)?.map(|row| {
            let (key, ending_key) = (row.key(), row.ending_now(now).map(|ending| ending.key()));
            GatewayCredential { product_key: row.product_key, key, ending_key, now }
        }))
    }

    /// The gateways of a site, by name.
    pub fn of_site(&self, site: &SiteId) -> Result<Vec<(GatewayName, GatewayRow)>, Refusal> {
        let mut rows = self.rows_of_site(site)?;
        rows.retain(|(_, row)| !row.removed);
        Ok(rows)
    }

    /// The rows of a site, also those of gateways that were removed.
    pub fn rows_of_site(&self, site: &SiteId) -> Result<Vec<(GatewayName, GatewayRow)>, Refusal> {
        let prefix = gateway_family::prefix(site);
        let scan = self.cell.reader().scan(Family::Gateway, &prefix, None, SITE_GATEWAYS_MAX).map_err(unreadable)?;
        scan.rows
            .iter()
            .map(|(key, value)| {
                let gateway = gateway_family::decode(key).map_err(unreadable)?;
                Ok((gateway.name, decode("gateway", value).map_err(unreadable)?))
            })
            .collect()
    }

    /// Makes credentials: the seed of an Ed25519 key pair, of which only the public key is kept; or takes a certificate's key, of which
    /// nobody here ever has more than its hash. Gives the seed, if one was made.
    ///
    /// What is known of the outboxes of a gateway that had the name before goes on to be known: whoever puts the new credentials on
    /// a disk from the drawer must not have its old numbers taken for new ones.
    pub async fn add(
        &self,
        gateway: &GatewayId,
        product_key: String,
        key: NewKey,
        now: WallTime,
        random: &dyn SecureRandom,
        once: Option<KeyedChange>,
    ) -> Result<Option<[u8; 32]>, Refusal> {
        let _adding = self.adding.lock().await;
        let _writing = self.lock(gateway).await?;
        let before = self.row(gateway)?;
        let rows = self.rows_of_site(&gateway.site)?;
        // The request is to the site, not to one gateway: with another name it is another request, as it is with tokens.
        if let Some(once) = &once
            && let Some((other, _)) = rows.iter().find(|(name, row)| *name != gateway.name && row.keys.holds(&once.key))
        {
            let used_for = format!("credentials made of gateway {other} of site {}", gateway.site);
            let key = once.key.to_string();
            self.cell.confirm().await?;
            return Err(Refusal::KeyReused { key, used_for });
        }
        let mut keys = before.as_ref().map(|row| row.keys.clone()).unwrap_or_default();
        self.spend(gateway, &mut keys, once).await?;
        if before.as_ref().is_some_and(|row| !row.removed) {
            return Err(Refusal::GatewayExists { site: gateway.site.clone(), name: gateway.name.clone() });
        }
        let mut changes = Vec::new();
        if before.is_none() && rows.len() >= SITE_GATEWAYS_MAX {
            let Some((removed, _)) = rows.into_iter().find(|(_, row)| row.removed) else {
                return Err(Refusal::Invalid { message: format!("a site has at most {SITE_GATEWAYS_MAX} gateways") });
            };
            let removed = GatewayId { site: gateway.site.clone(), name: removed };
            changes.push(RowChange::delete(Family::Gateway, gateway_family::key(&removed)));
        }
        let (secret, key) = new_key(key, random)?;
        let mut row = match before {
            Some(before) => GatewayRow { created_at: now, product_key, removed: false, ending: None, keys, ..before },
            None => GatewayRow {
                created_at: now,
                product_key,
                public_key: [0; 32],
                outbox: None,
                boot: Boot::default(),
                boot_nonce: [0; 16],
                retired: Vec::new(),
                ending: None,
                removed: false,
                by_certificate: false,
                keys,
            },
        };
        row.set_key(key);
        changes.push(RowChange::put(Family::Gateway, gateway_family::key(gateway), encode(&row)));
        self.cell.commit_rows(changes).await?;
        Ok(secret)
    }

    /// Makes or takes a new key. The one before works for `overlap` from now, and one before that no longer. Gives the new secret, if
    /// one was made, and the row.
    pub async fn rotate(
        &self,
        gateway: &GatewayId,
        key: NewKey,
        overlap: Duration,
        now: WallTime,
        random: &dyn SecureRandom,
        once: Option<KeyedChange>,
    ) -> Result<(Option<[u8; 32]>, GatewayRow), Refusal> {
        let _writing = self.lock(gateway).await?;
        let Some(mut row) = self.get(gateway)? else { return Err(not_found(gateway)) };
        self.spend(gateway, &mut row.keys, once).await?;
        let (secret, key) = new_key(key, random)?;
        let before = row.key();
        row.set_key(key);
        let until = WallTime::new(now.get().saturating_add(i64::try_from(overlap.as_millis()).unwrap_or(i64::MAX)));
        // A certificate that was renewed for its key is the same key: nothing of it ends.
        row.ending = (!overlap.is_zero() && before != key).then(|| EndingKey::new(before, until));
        self.put(gateway, &row).await?;
        Ok((secret, row))
    }

    /// Puts the key of a change that makes credentials among those that are used, to be committed with them.
    ///
    /// **Invariant:** a key makes credentials of a gateway once, also where the gateway was removed since: the secret of the first time
    /// is stored nowhere and cannot be shown again, and second ones would put an end to the first, which may be in use.
    async fn spend(&self, gateway: &GatewayId, keys: &mut UsedKeys, once: Option<KeyedChange>) -> Result<(), Refusal> {
        let Some(once) = once else { return Ok(()) };
        let time = self.cell.time()?;
        let GatewayId { site, name } = gateway;
        let of = format!("credentials made of gateway {name} of site {site}");
        if keys.find(&once, time, GATEWAY_KEYS_MAX, &of)?.is_some() {
            self.cell.confirm().await?;
            return Err(Refusal::KeySpent {
                key: once.key.to_string(),
                what: format!("credentials of gateway {name} of site {site}"),
                instead: format!(
                    "make others with a new key: POST /api/v1/sites/{site}/gateways/{name}/keys, or POST \
                     /api/v1/sites/{site}/gateways if the gateway was removed since"
                ),
            });
        }
        keys.remember(once, true, time, GATEWAY_KEYS_MAX);
        Ok(())
    }

    /// Ends the key before the current one, if it still works. Gives the row.
    pub async fn end_old_key(&self, gateway: &GatewayId) -> Result<GatewayRow, Refusal> {
        let _writing = self.lock(gateway).await?;
        let Some(mut row) = self.get(gateway)? else { return Err(not_found(gateway)) };
        if row.ending.take().is_some() {
            self.put(gateway, &row).await?;
        } else {
            self.cell.confirm().await?;
        }
        Ok(row)
    }

    /// Removes a gateway's credentials.
    pub async fn remove(&self, gateway: &GatewayId) -> Result<(), Refusal> {
        let _writing = self.lock(gateway).await?;
        let Some(row) = self.get(gateway)? else {
            return Err(not_found(gateway));
        };
        self.put(
            gateway,
            &GatewayRow { removed: true, public_key: [0; 32], by_certificate: false, ending: None, ..row },
        )
        .await
    }

    /// Removes all that is known of a gateway, together with its site: the twins that had its numbers go, too.
    pub async fn erase(&self, gateway: &GatewayId) -> Result<(), Refusal> {
        let _writing = self.lock(gateway).await?;
        self.cell.commit_rows(vec![RowChange::delete(Family::Gateway, gateway_family::key(gateway))]).await
    }

    /// Commits outbox and boot of a hello.
    ///
    /// A boot number that was committed before belongs to one run of the gateway, which is known by its nonce. Any other run
    /// with that number, or a lower one, comes from a disk that was rolled back: it would number new reports with numbers that
    /// the twins have seen, and they would be taken for duplicates. So it must start a new outbox.
    ///
    /// `in_use` says from where a session with another outbox is open, and is asked before anything is committed: where the policy lets
    /// no second one in, a stranger's hello must not retire the outbox of the gateway that is there. The guard is kept until the
    /// session stands in the table, so that of two strangers the second sees the first.
    pub async fn hello(
        &self,
        hello: &VerifiedHello,
        policy: ConflictPolicy,
        in_use: impl FnOnce() -> Option<String>,
    ) -> Result<Welcomed<'_>, (Refusal, Option<String>)> {
        let plain = |refusal| (refusal, None);
        let writing = self.lock(&hello.gateway).await.map_err(plain)?;
        let Some(row) = self.get(&hello.gateway).map_err(plain)? else {
            return Err(plain(not_found(&hello.gateway)));
        };
        let verdict = judge(&row, hello);
        let standing = match verdict {
            // Its own outbox, in its own order: the same gateway, whose older link may be dead.
            Hello::Reconnect | Hello::NewBoot => None,
            Hello::NewOutbox | Hello::Stale { .. } => in_use(),
        };
        if policy == ConflictPolicy::DenyNew && standing.is_some() {
            self.cell.confirm().await.map_err(plain)?;
            return Err((Refusal::CredentialInUse { gateway: hello.gateway.to_string() }, standing));
        }
        match self.commit_hello(hello, row, verdict).await {
            Ok(()) => Ok(Welcomed { standing, _writing: writing }),
            Err(refusal) => Err((refusal, standing)),
        }
    }

    async fn commit_hello(&self, hello: &VerifiedHello, mut row: GatewayRow, verdict: Hello) -> Result<(), Refusal> {
        match verdict {
            Hello::Reconnect => self.cell.confirm().await,
            Hello::Stale { committed } => {
                self.cell.confirm().await?;
                Err(Refusal::StaleBoot { boot: hello.boot, committed })
            }
            Hello::NewBoot => {
                row.boot = hello.boot;
                row.boot_nonce = hello.boot_nonce;
                self.put(&hello.gateway, &row).await
            }
            Hello::NewOutbox => {
                row.retired.extend(row.outbox.replace(hello.outbox));
                let excess = row.retired.len().saturating_sub(RETIRED_OUTBOXES_MAX);
                row.retired.drain(..excess);
                row.boot = hello.boot;
                row.boot_nonce = hello.boot_nonce;
                self.put(&hello.gateway, &row).await
            }
        }
    }

    async fn put(&self, gateway: &GatewayId, row: &GatewayRow) -> Result<(), Refusal> {
        self.cell.commit_rows(vec![RowChange::put(Family::Gateway, gateway_family::key(gateway), encode(row))]).await
    }
}

/// A hello that is committed. To be kept until its session is in the table.
pub struct Welcomed<'a> {
    /// From where a session of another outbox is open, which is about to be closed.
    pub standing: Option<String>,
    _writing: tokio::sync::MutexGuard<'a, ()>,
}

fn not_found(gateway: &GatewayId) -> Refusal {
    Refusal::GatewayNotFound { site: gateway.site.clone(), name: gateway.name.clone() }
}

/// What a gateway shall prove itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewKey {
    /// A secret that is made.
    Secret,
    /// A certificate of its owner's, by the SHA-256 of its public key.
    Certificate([u8; 32]),
}

/// The seed of a key pair, if one is made, and the key to keep.
fn new_key(new: NewKey, random: &dyn SecureRandom) -> Result<(Option<[u8; 32]>, GatewayKey), Refusal> {
    if let NewKey::Certificate(sha256) = new {
        return Ok((None, GatewayKey::Certificate(sha256)));
    }
    let mut secret = [0; 32];
    random.fill(&mut secret).map_err(|_| no_entropy())?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&secret).map_err(|_| no_entropy())?;
    let public_key = pair.public_key().as_ref().try_into().map_err(|_| no_entropy())?;
    Ok((Some(secret), GatewayKey::Secret(public_key)))
}

#[derive(Debug, PartialEq, Eq)]
enum Hello {
    Reconnect,
    NewBoot,
    NewOutbox,
    Stale { committed: Boot },
}

fn judge(row: &GatewayRow, hello: &VerifiedHello) -> Hello {
    if row.outbox != Some(hello.outbox) {
        return if row.retired.contains(&hello.outbox) {
            Hello::Stale { committed: row.boot }
        } else {
            Hello::NewOutbox
        };
    }
    match hello.boot.cmp(&row.boot) {
        std::cmp::Ordering::Greater => Hello::NewBoot,
        std::cmp::Ordering::Equal if hello.boot_nonce == row.boot_nonce => Hello::Reconnect,
        _ => Hello::Stale { committed: row.boot },
    }
}

fn unreadable(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a gateway's row cannot be read");
    Refusal::Unavailable { message: format!("the gateway's row cannot be read: {error}"), retry_after_ms: 10_000 }
}

fn no_entropy() -> Refusal {
    Refusal::Unavailable { message: "the system gave no random numbers".into(), retry_after_ms: 1000 }
}

#[cfg(test)]
mod tests {
    use twin_core::numbers::OutboxId;

    use super::*;

    fn row() -> GatewayRow {
        GatewayRow {
            created_at: WallTime::default(),
            product_key: "p".into(),
            public_key: [0; 32],
            outbox: Some(OutboxId([1; 16])),
            boot: Boot::new(5),
            boot_nonce: [5; 16],
            retired: vec![OutboxId([9; 16])],
            ending: None,
            removed: false,
            by_certificate: false,
            keys: UsedKeys::default(),
        }
    }

    fn hello(outbox: u8, boot: u64, nonce: u8) -> VerifiedHello {
        VerifiedHello {
            gateway: GatewayId { site: SiteId::default_site(), name: GatewayName::new("g").unwrap() },
            outbox: OutboxId([outbox; 16]),
            boot: Boot::new(boot),
            boot_nonce: [nonce; 16],
            agent: String::new(),
            peer: String::new(),
            key: GatewayKey::Secret([0; 32]),
            ends_at: None,
        }
    }

    #[test]
    fn a_rolled_back_disk_cannot_pass_for_a_new_boot() {
        let stale = Hello::Stale { committed: Boot::new(5) };
        assert_eq!(judge(&row(), &hello(1, 4, 4)), stale, "rolled back by two boots");
        assert_eq!(judge(&row(), &hello(1, 5, 6)), stale, "rolled back by one boot: same number, other run");
        assert_eq!(judge(&row(), &hello(9, 77, 1)), stale, "an outbox from the drawer");
    }

    #[test]
    fn reconnects_and_new_boots_and_new_outboxes_are_let_in() {
        assert_eq!(judge(&row(), &hello(1, 5, 5)), Hello::Reconnect);
        assert_eq!(judge(&row(), &hello(1, 6, 6)), Hello::NewBoot);
        assert_eq!(judge(&row(), &hello(2, 1, 1)), Hello::NewOutbox);
    }
}
