//! Sites and their gateways, as operators see and change them.

use twin_core::ids::{GatewayId, GatewayName, SiteId};
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;

use crate::cluster::Cluster;
use crate::gateways::NewKey;
use crate::rows::{GatewayRow, SiteRow};
use crate::view::{GatewayView, NewGateway, SiteChange, SiteMade, SiteView};

impl Cluster {
    /// Creates a site or changes it; says whether it is new.
    pub async fn put_site(&self, site: &SiteId, change: impl Into<SiteChange>) -> Result<bool, Refusal> {
        Ok(self.put_site_once(site, change, None).await?.created)
    }

    /// The same, with an idempotency key if it has one.
    pub async fn put_site_once(
        &self,
        site: &SiteId,
        change: impl Into<SiteChange>,
        once: Option<KeyedChange>,
    ) -> Result<SiteMade, Refusal> {
        self.inner.directory.put_site(site, change.into(), once).await
    }

    /// A site.
    pub async fn site(&self, site: &SiteId) -> Result<SiteView, Refusal> {
        self.inner.directory.confirm_committed().await?;
        let row = self.inner.directory.site(site)?.ok_or_else(|| Refusal::SiteNotFound { site: site.clone() })?;
        self.inner.cell.confirm_committed().await?;
        self.site_view(site, &row)
    }

    /// All sites, by id.
    pub async fn sites(&self) -> Result<Vec<SiteView>, Refusal> {
        self.inner.directory.confirm_committed().await?;
        self.inner.cell.confirm_committed().await?;
        self.inner.directory.sites()?.iter().map(|(site, row)| self.site_view(site, row)).collect()
    }

    fn site_view(&self, site: &SiteId, row: &SiteRow) -> Result<SiteView, Refusal> {
        let gateways = self.inner.gateways.of_site(site)?;
        Ok(SiteView {
            id: site.clone(),
            enrolment: row.enrolment,
            cell: row.cell,
            epoch: row.epoch,
            conflict: row.conflict,
            deleting: row.deleting,
            gateways: gateways.into_iter().map(|(name, row)| self.gateway_view(site, name, &row)).collect(),
        })
    }

    fn gateway_view(&self, site: &SiteId, name: GatewayName, row: &GatewayRow) -> GatewayView {
        let gateway = GatewayId { site: site.clone(), name };
        self.inner.sessions.look(&gateway, |session, heard| GatewayView {
            name: gateway.name.clone(),
            created_at: row.created_at,
            connected: session.is_some(),
            peer: session.map(|session| session.hello.peer.clone()),
            agent: session.map(|session| session.hello.agent.clone()),
            connected_at: session.map(|session| session.opened_at),
            old_key_until: row.ending_now(self.inner.clock.wall()).map(|ending| ending.until),
            certificate_sha256: row.key().certificate_sha256(),
            certificate_ends_at: session.and_then(|session| session.hello.ends_at),
            last_seen: heard.map(|heard| heard.at),
            status: heard.and_then(|heard| heard.status),
        })
    }

    /// Makes credentials for a gateway. The secret is in the answer and nowhere else.
    ///
    /// With an idempotency key that made credentials of this gateway before, nothing is made: [`Refusal::KeySpent`].
    pub async fn add_gateway(
        &self,
        site: &SiteId,
        name: &GatewayName,
        once: Option<KeyedChange>,
    ) -> Result<NewGateway, Refusal> {
        self.add_gateway_with(site, name, NewKey::Secret, once).await
    }

    /// The same with a secret or a certificate.
    pub async fn add_gateway_with(
        &self,
        site: &SiteId,
        name: &GatewayName,
        key: NewKey,
        once: Option<KeyedChange>,
    ) -> Result<NewGateway, Refusal> {
        // A commit that is given and whose caller has gone is waited for by whoever closes the gate, as all commits are.
        let inside = self.inner.gates.enter(site)?;
        self.inner.directory.open_site(site)?;
        let product_key = self.inner.directory.cluster()?.product_key;
        let gateway = GatewayId { site: site.clone(), name: name.clone() };
        let (now, random) = (self.inner.clock.wall(), &*self.inner.options.random);
        let secret = self.inner.gateways.add(&gateway, product_key.clone(), key, now, random, once).await?;
        drop(inside);
        Ok(NewGateway { site: site.clone(), name: name.clone(), product_key, secret })
    }

    /// Removes a gateway's credentials and ends its session.
    pub async fn remove_gateway(&self, site: &SiteId, name: &GatewayName) -> Result<(), Refusal> {
        if self.inner.directory.site(site)?.is_none() {
            return Err(Refusal::SiteNotFound { site: site.clone() });
        }
        let gateway = GatewayId { site: site.clone(), name: name.clone() };
        self.inner.gateways.remove(&gateway).await?;
        self.end_session(&gateway);
        Ok(())
    }

    /// Ends the session of a gateway whose credentials are gone.
    pub(crate) fn end_session(&self, gateway: &GatewayId) {
        self.inner.sessions.revoke(gateway);
        self.inner.methods.link_lost(gateway);
    }
}
