//! The ids that a site's devices may have, where its enrolment is a list: given out beforehand, so that a gateway cannot make up more.
//!
//! They are rows of the site's cell. A device on the list is registered by its first attach, as where enrolment is open.

use std::collections::BTreeSet;

use twin_core::ids::{SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_storage::families::{Family, site_device};
use twin_storage::{RowChange, Scan};

use crate::cell::unreadable;
use crate::cluster::Cluster;
use crate::limits::{SITE_DEVICES_MAX, SITE_DEVICES_PER_ENTRY};

/// What became of a change of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DevicesChanged {
    /// Ids that were not on it before.
    pub added: usize,
    /// Ids that were on it before.
    pub removed: usize,
    /// Ids that are on it now.
    pub total: usize,
}

impl Cluster {
    /// Is the id on the site's list?
    pub(crate) fn is_listed(&self, site: &SiteId, twin: &TwinId) -> bool {
        let row = self.inner.cell.reader().get(Family::SiteDevice, &site_device::key(site, twin));
        row.map_err(|error| unreadable("a site's list", error)).is_ok_and(|row| row.is_some())
    }

    /// Adds ids to a site's list and removes others. Both do nothing to an id that is as asked already, so that a change whose outcome
    /// is unknown may be made again. Removing an id leaves a twin that is registered as it is.
    pub async fn change_devices(
        &self,
        site: &SiteId,
        add: &[TwinId],
        remove: &[TwinId],
    ) -> Result<DevicesChanged, Refusal> {
        // Nothing new comes into a site that is being deleted.
        let _inside = self.inner.gates.enter(site)?;
        self.inner.directory.open_site(site)?;
        let _writing = self.inner.listing_devices.lock().await;
        self.inner.cell.settled()?;
        let (add, remove): (BTreeSet<_>, BTreeSet<_>) = (add.iter().collect(), remove.iter().collect());
        if let Some(both) = add.intersection(&remove).next() {
            return Err(Refusal::Invalid { message: format!("{both} is both to be added and to be removed") });
        }
        let total = self.listed(site)?;
        let new: Vec<_> = add.into_iter().filter(|twin| !self.is_listed(site, twin)).collect();
        let old: Vec<_> = remove.into_iter().filter(|twin| self.is_listed(site, twin)).collect();
        if total + new.len() > SITE_DEVICES_MAX + old.len() {
            let more = new.len();
            let message = format!(
                "a site's list has at most {SITE_DEVICES_MAX} ids; this one has {total}, and {more} more do not fit"
            );
            return Err(Refusal::Invalid { message });
        }
        let key = |twin: &TwinId| site_device::key(site, twin);
        let removals = old.iter().map(|twin| RowChange::delete(Family::SiteDevice, key(twin)));
        let listed = || bytes::Bytes::from_static(&[1]);
        let additions = new.iter().map(|twin| RowChange::put(Family::SiteDevice, key(twin), listed()));
        let mut rows: Vec<RowChange> = removals.chain(additions).collect();
        while !rows.is_empty() {
            let rest = rows.split_off(rows.len().min(SITE_DEVICES_PER_ENTRY));
            self.inner.cell.commit_rows(std::mem::replace(&mut rows, rest)).await?;
        }
        Ok(DevicesChanged { added: new.len(), removed: old.len(), total: total + new.len() - old.len() })
    }

    /// Removes a site's whole list, together with the site. Done twice it changes nothing.
    pub(crate) async fn erase_devices(&self, site: &SiteId) -> Result<(), Refusal> {
        loop {
            let scan = self.scan_devices(site, None, SITE_DEVICES_PER_ENTRY)?;
            if scan.rows.is_empty() {
                return Ok(());
            }
            let gone = scan.rows.into_iter().map(|(key, _)| RowChange::delete(Family::SiteDevice, key));
            self.inner.cell.commit_rows(gone.collect()).await?;
        }
    }

    /// A page of a site's list, and where the next one begins.
    pub async fn devices(
        &self,
        site: &SiteId,
        after: Option<&TwinId>,
        limit: usize,
    ) -> Result<(Vec<TwinId>, Option<TwinId>), Refusal> {
        if self.inner.directory.site(site)?.is_none() {
            return Err(Refusal::SiteNotFound { site: site.clone() });
        }
        self.inner.cell.confirm_committed().await?;
        let after = after.map(|twin| site_device::key(site, twin));
        let scan = self.scan_devices(site, after.as_deref(), limit)?;
        let devices: Vec<TwinId> = scan
            .rows
            .iter()
            .map(|(key, _)| Ok(site_device::decode(key).map_err(|error| unreadable("a site's list", error))?.1))
            .collect::<Result<_, Refusal>>()?;
        let next = devices.last().filter(|_| scan.more).cloned();
        Ok((devices, next))
    }

    fn scan_devices(&self, site: &SiteId, after: Option<&[u8]>, limit: usize) -> Result<Scan, Refusal> {
        let scan = self.inner.cell.reader().scan(Family::SiteDevice, &site_device::prefix(site), after, limit);
        scan.map_err(|error| unreadable("a site's list", error))
    }

    fn listed(&self, site: &SiteId) -> Result<usize, Refusal> {
        let mut count = 0;
        let mut after: Option<bytes::Bytes> = None;
        loop {
            let scan = self.scan_devices(site, after.as_deref(), SITE_DEVICES_MAX)?;
            count += scan.rows.len();
            match scan.rows.last() {
                Some((key, _)) if scan.more => after = Some(key.clone()),
                _ => return Ok(count),
            }
        }
    }
}
