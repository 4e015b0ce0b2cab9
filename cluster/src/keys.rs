//! Replacing a gateway's key while the old one works a while longer, so that a store need not be cut off for it.

use std::sync::Weak;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_core::numbers::WallTime;
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;

use crate::cluster::{Cluster, Inner};
use crate::gateways::NewKey;
use crate::limits::KEY_END_INTERVAL;
use crate::rows::GatewayRow;
use crate::view::NewGateway;

impl Cluster {
    /// Makes new credentials for a gateway, or takes a certificate's key; the old ones work for `overlap` from now, and older ones no
    /// longer: their sessions end at once. A secret is in the answer and nowhere else; with an idempotency key that made credentials
    /// before, it is [`Refusal::KeySpent`]. Also: until when the old ones work.
    pub async fn rotate_gateway(
        &self,
        site: &SiteId,
        name: &GatewayName,
        key: NewKey,
        overlap: Duration,
        once: Option<KeyedChange>,
    ) -> Result<(NewGateway, Option<WallTime>), Refusal> {
        let gateway = self.known_gateway(site, name)?;
        let (now, random) = (self.inner.clock.wall(), &*self.inner.options.random);
        let (secret, row) = self.inner.gateways.rotate(&gateway, key, overlap, now, random, once).await?;
        self.end_sessions_of_old_keys(&gateway, &row);
        self.inner.sessions.watch_key(&gateway);
        let new = NewGateway { site: site.clone(), name: name.clone(), product_key: row.product_key, secret };
        Ok((new, row.ending.map(|ending| ending.until)))
    }

    /// Ends a gateway's old credentials, if they still work, and the session that was opened with them.
    pub async fn end_old_key(&self, site: &SiteId, name: &GatewayName) -> Result<(), Refusal> {
        let gateway = self.known_gateway(site, name)?;
        let row = self.inner.gateways.end_old_key(&gateway).await?;
        self.end_sessions_of_old_keys(&gateway, &row);
        Ok(())
    }

    fn known_gateway(&self, site: &SiteId, name: &GatewayName) -> Result<GatewayId, Refusal> {
        if self.inner.directory.site(site)?.is_none() {
            return Err(Refusal::SiteNotFound { site: site.clone() });
        }
        Ok(GatewayId { site: site.clone(), name: name.clone() })
    }

    fn end_sessions_of_old_keys(&self, gateway: &GatewayId, row: &GatewayRow) {
        let now = self.inner.clock.wall();
        if self.inner.sessions.end_unless(gateway, |key| row.takes(key, now)) {
            self.inner.methods.link_lost(gateway);
        }
    }
}

/// Ends the sessions of keys and certificates whose time is over, until stopped.
pub(crate) async fn end_old_keys(inner: Weak<Inner>, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(KEY_END_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let cluster = Cluster { inner };
        for gateway in cluster.inner.sessions.end_expired(cluster.inner.clock.wall()) {
            cluster.inner.methods.link_lost(&gateway);
        }
        for gateway in cluster.inner.sessions.on_old_keys() {
            if let Ok(Some(row)) = cluster.inner.gateways.get(&gateway) {
                cluster.end_sessions_of_old_keys(&gateway, &row);
            }
        }
    }
}
