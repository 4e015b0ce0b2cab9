//! The directory: group 0. Nodes, cells and sites, and where each site lives. No twins.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use twin_core::clock::Clock;
use twin_core::event::Outbound;
use twin_core::ids::SiteId;
use twin_core::numbers::OwnerOrder;
use twin_core::once::OwnerTime;
use twin_core::refusal::Refusal;
use twin_core::used_keys::KeyedChange;
use twin_storage::GroupReader;
use twin_storage::RowChange;
use twin_storage::consensus::NodeId;
use twin_storage::families::{
    Family, cell as cell_family, cluster as cluster_family, node as node_family, site as site_family,
};

use crate::FIRST_CELL;
use crate::cell::owner_changed;
use crate::lead::{Generation, Host, Lead};
use crate::limits::{SITE_KEYS_MAX, SITES_MAX};
use crate::rows::{CellRow, ClusterRow, NodeRow, SiteRow, decode, encode};
use crate::tokens_read::TokensRead;
use crate::view::{Enrolment, SiteChange, SiteMade};

/// The directory on this node.
pub struct Directory {
    reader: GroupReader,
    clock: Arc<dyn Clock>,
    lead: RwLock<Option<Lead>>,
    /// When it began to lead, by the clock.
    begun: RwLock<Duration>,
    ready: tokio::sync::watch::Sender<bool>,
    /// Read-modify-write of sites is done by one at a time.
    writing: tokio::sync::Mutex<()>,
    pub(crate) tokens_read: TokensRead,
}

impl Directory {
    /// A directory without a leader yet.
    pub fn new(reader: GroupReader, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            reader,
            clock,
            lead: RwLock::new(None),
            begun: RwLock::default(),
            ready: tokio::sync::watch::Sender::new(false),
            writing: tokio::sync::Mutex::new(()),
            tokens_read: TokensRead::default(),
        })
    }

    /// True while it leads.
    pub fn readiness(&self) -> tokio::sync::watch::Receiver<bool> {
        self.ready.subscribe()
    }

    /// The rows that a new cluster begins with; does nothing to an old one.
    pub async fn found(&self, node_name: &str, new_cluster: impl FnOnce() -> ClusterRow) -> Result<(), Refusal> {
        let _writing = self.writing.lock().await;
        if self.get::<ClusterRow>(Family::Cluster, &cluster_family::key(), "cluster")?.is_some() {
            return Ok(());
        }
        let node = NodeRow { name: node_name.to_owned(), role: "core".into() };
        let cell = CellRow { cell: FIRST_CELL, lineage: 1, home: true };
        let site = SiteRow::new(Enrolment::Registered, 0);
        self.commit(vec![
            RowChange::put(Family::Cluster, cluster_family::key(), encode(&new_cluster())),
            RowChange::put(Family::Node, node_family::key(NodeId::new(1)), encode(&node)),
            RowChange::put(Family::Cell, cell_family::key(FIRST_CELL), encode(&cell)),
            RowChange::put(Family::Site, site_family::key(&SiteId::default_site()), encode(&site)),
        ])
        .await
    }

    /// The cluster's own row.
    pub fn cluster(&self) -> Result<ClusterRow, Refusal> {
        self.get(Family::Cluster, &cluster_family::key(), "cluster")?.ok_or_else(owner_changed)
    }

    /// The first cell's own row.
    pub fn cell(&self) -> Result<CellRow, Refusal> {
        self.get(Family::Cell, &cell_family::key(FIRST_CELL), "cell")?.ok_or_else(owner_changed)
    }

    /// A site, as committed and applied here.
    pub fn site(&self, site: &SiteId) -> Result<Option<SiteRow>, Refusal> {
        self.get(Family::Site, &site_family::key(site), "site")
    }

    /// All sites, by id.
    pub fn sites(&self) -> Result<Vec<(SiteId, SiteRow)>, Refusal> {
        let scan = self.reader.scan(Family::Site, &[], None, SITES_MAX).map_err(unreadable)?;
        scan.rows
            .iter()
            .map(|(key, value)| {
                Ok((site_family::decode(key).map_err(unreadable)?, decode("site", value).map_err(unreadable)?))
            })
            .collect()
    }

    /// Creates a site or changes it. With a key it does so once: a repeat must not undo what others changed meanwhile.
    pub async fn put_site(
        &self,
        site: &SiteId,
        change: SiteChange,
        once: Option<KeyedChange>,
    ) -> Result<SiteMade, Refusal> {
        let _writing = self.writing().await?;
        let known = self.site(site)?;
        let created = known.is_none();
        let time = self.time()?;
        if known.as_ref().is_some_and(|row| row.deleting) {
            self.confirm().await?;
            return Err(Refusal::SiteDeleting { site: site.clone() });
        }
        if let (Some(once), Some(row)) = (&once, &known)
            && let Some(used) = row.keys.find(once, time, SITE_KEYS_MAX, &format_args!("changes of site {site}"))?
        {
            let created = used.created;
            self.confirm().await?;
            return Ok(SiteMade { created, replayed: true });
        }
        if created && self.sites()?.len() >= SITES_MAX {
            return Err(Refusal::Invalid { message: format!("a cluster has at most {SITES_MAX} sites") });
        }
        let mut row = match known.clone() {
            Some(row) => row,
            None => SiteRow::new(Enrolment::default(), self.cluster()?.site_epoch_floor),
        };
        row.enrolment = change.enrolment.unwrap_or(row.enrolment);
        row.conflict = change.conflict.unwrap_or(row.conflict);
        if once.is_none() && known.is_some_and(|known| known == row) {
            self.confirm().await?;
            return Ok(SiteMade { created: false, replayed: false });
        }
        if let Some(once) = once {
            row.keys.remember(once, created, time, SITE_KEYS_MAX);
        }
        self.commit(vec![RowChange::put(Family::Site, site_family::key(site), encode(&row))]).await?;
        Ok(SiteMade { created, replayed: false })
    }

    /// A site in which something new may begin.
    pub fn open_site(&self, site: &SiteId) -> Result<SiteRow, Refusal> {
        let row = self.site(site)?.ok_or_else(|| Refusal::SiteNotFound { site: site.clone() })?;
        if row.deleting { Err(Refusal::SiteDeleting { site: site.clone() }) } else { Ok(row) }
    }

    /// Marks a site as being deleted. Nothing takes that back.
    pub async fn mark_deleting(&self, site: &SiteId) -> Result<(), Refusal> {
        let _writing = self.writing().await?;
        let row = SiteRow { deleting: true, ..self.open_site(site)? };
        self.commit(vec![RowChange::put(Family::Site, site_family::key(site), encode(&row))]).await
    }

    /// Deletes a site's row, which has nothing hanging on it any more. Done twice it changes nothing.
    pub async fn erase_site(&self, site: &SiteId) -> Result<(), Refusal> {
        let _writing = self.writing().await?;
        let Some(row) = self.site(site)? else { return self.confirm().await };
        let cluster = self.cluster()?;
        let cluster = ClusterRow { site_epoch_floor: cluster.site_epoch_floor.max(row.epoch), ..cluster };
        self.commit(vec![
            RowChange::delete(Family::Site, site_family::key(site)),
            RowChange::put(Family::Cluster, cluster_family::key(), encode(&cluster)),
        ])
        .await
    }

    /// Resolves when everything given before the call is applied; refused while that waits for room on the disk.
    pub async fn confirm(&self) -> Result<(), Refusal> {
        self.lead()?.confirmed().await
    }

    /// Resolves when everything committed before the call can be read here.
    pub async fn confirm_committed(&self) -> Result<(), Refusal> {
        let is_current = |generation| self.lead.read().as_ref().is_some_and(|lead| lead.generation == generation);
        self.lead()?.confirmed_committed(is_current).await
    }

    /// Held while rows are read, changed and written.
    pub(crate) async fn writing(&self) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        let writing = self.writing.lock().await;
        // Whoever had it before may have written what is not applied yet.
        self.lead()?.settled()?;
        Ok(writing)
    }

    pub(crate) fn reader(&self) -> &GroupReader {
        &self.reader
    }

    /// What its clock says. A term is one process's, whose clock this is.
    pub(crate) fn time(&self) -> Result<OwnerTime, Refusal> {
        let owner = OwnerOrder { site_epoch: 1, lineage: 1, term: self.lead()?.term };
        Ok(OwnerTime { owner, begun: *self.begun.read(), now: self.clock.monotonic() })
    }

    fn lead(&self) -> Result<Lead, Refusal> {
        self.lead.read().clone().ok_or_else(owner_changed)
    }

    pub(crate) async fn commit(&self, rows: Vec<RowChange>) -> Result<(), Refusal> {
        self.lead()?.commit_rows(rows).await
    }

    pub(crate) fn get<T: serde::de::DeserializeOwned>(
        &self,
        family: Family,
        key: &[u8],
        what: &'static str,
    ) -> Result<Option<T>, Refusal> {
        let row = self.reader.get(family, key).map_err(unreadable)?;
        row.map(|row| decode(what, &row)).transpose().map_err(unreadable)
    }
}

pub(crate) fn unreadable(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a row of the directory cannot be read");
    Refusal::Unavailable { message: format!("the directory cannot be read: {error}"), retry_after_ms: 10_000 }
}

impl Host for Directory {
    fn begin(&self, lead: Lead) {
        *self.begun.write() = self.clock.monotonic();
        *self.lead.write() = Some(lead);
        self.ready.send_replace(true);
    }

    fn end(&self, _: Generation) {
        self.ready.send_replace(false);
        *self.lead.write() = None;
    }

    fn committed(&self, _: Vec<Outbound>) {}
}
