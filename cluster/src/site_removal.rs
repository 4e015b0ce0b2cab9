//! Deleting a site, and all that hangs on it.
//!
//! An empty site goes in one entry, under its closed [gate](crate::gates). A site with twins or gateways goes in steps: its row is
//! marked as being deleted, which no command takes back and which keeps everything new out; then its gateways lose their credentials
//! and sessions, then its twins are deleted, each by its grain as if it were the only one, so that its home slot's floor rises with
//! it, then its list of devices; and the row goes last.
//!
//! **Invariant:** a site whose row is marked is on its way out until the row is gone, whoever is killed in between: every step
//! finds what is left, does it, and may be done twice; a node takes up what it finds marked when it starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use twin_core::command::{Answer, Command, Precondition};
use twin_core::grain::{Answers, Reply};
use twin_core::ids::{GatewayId, SiteId, TwinId};
use twin_core::refusal::Refusal;
use twin_storage::families::{Family, site_twin};
use twin_transports::server::Submission;

use crate::cell::{owner_changed, unreadable};
use crate::cluster::Cluster;
use crate::limits::{REMOVAL_TWINS_AT_ONCE_MAX, RETRY_UNAVAILABLE_MS, SITE_HANGING_SHOWN_MAX};

/// Sites whose deletion this node drives: one task each.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    under_way: Mutex<HashMap<SiteId, watch::Receiver<bool>>>,
}

/// A site's deletion, which goes on whether anybody waits for it or not.
#[derive(Clone, Debug)]
pub struct SiteRemoval {
    /// `None`: it was done at once.
    is_done: Option<watch::Receiver<bool>>,
}

impl SiteRemoval {
    /// Resolves when the site and all that hung on it are gone.
    pub async fn done(self) {
        let Some(mut is_done) = self.is_done else { return };
        if is_done.wait_for(|done| *done).await.is_err() {
            // The node is stopping: whoever starts it next goes on.
            std::future::pending::<()>().await;
        }
    }
}

impl Cluster {
    /// Begins to delete a site. Without `cascade` a site on which something hangs is refused; with it, all of that goes as well.
    /// Asked again while it is being deleted, it joins in.
    pub async fn remove_site(&self, site: &SiteId, cascade: bool) -> Result<SiteRemoval, Refusal> {
        if *site == SiteId::default_site() {
            return Err(Refusal::SiteNeeded { site: site.clone() });
        }
        // A task: a caller that goes away must not open the gate while the outcome of an entry is unknown.
        let (cluster, site) = (self.clone(), site.clone());
        let begun = self.inner.tasks.spawn(async move { cluster.begin_removal(&site, cascade).await });
        begun.await.unwrap_or_else(|_| Err(owner_changed()))
    }

    async fn begin_removal(&self, site: &SiteId, cascade: bool) -> Result<SiteRemoval, Refusal> {
        let directory = &self.inner.directory;
        directory.confirm().await?;
        let known = || directory.site(site)?.ok_or_else(|| Refusal::SiteNotFound { site: site.clone() });
        if !known()?.deleting {
            let closed = self.inner.gates.close(site).await;
            let begun = async {
                // Another one may have been quicker.
                if known()?.deleting {
                    return Ok(true);
                }
                if cascade {
                    return directory.mark_deleting(site).await.map(|()| true);
                }
                self.inner.cell.confirm().await?;
                if let Some(hanging) = self.hanging_on(site).await? {
                    return Err(Refusal::SiteNotEmpty { site: site.clone(), hanging });
                }
                // Of those that were removed.
                for (name, _) in self.inner.gateways.rows_of_site(site)? {
                    self.inner.gateways.erase(&GatewayId { site: site.clone(), name }).await?;
                }
                self.erase_devices(site).await?;
                directory.erase_site(site).await.map(|()| false)
            };
            let begun = begun.await;
            if matches!(begun, Err(Refusal::Unavailable { .. })) {
                // Whether the entry was committed is unknown until the next term's barrier: until then nobody may go in.
                self.until_directory_settled().await;
            }
            drop(closed);
            if !begun? {
                return Ok(SiteRemoval { is_done: None });
            }
        }
        Ok(self.drive_removal(site))
    }

    async fn until_directory_settled(&self) {
        while self.inner.directory.confirm().await.is_err() {
            if !self.pause(Duration::from_millis(RETRY_UNAVAILABLE_MS)).await {
                return;
            }
        }
    }

    /// Takes up the deletions that a node before this one began.
    pub(crate) async fn resume_removals(&self) {
        loop {
            match self.inner.directory.sites() {
                Ok(sites) => {
                    for (site, _) in sites.into_iter().filter(|(_, row)| row.deleting) {
                        tracing::info!(%site, "goes on deleting a site");
                        self.drive_removal(&site);
                    }
                    return;
                }
                Err(refusal) => tracing::warn!(%refusal, "which sites are being deleted cannot be read; trying again"),
            }
            if !self.pause(Duration::from_millis(RETRY_UNAVAILABLE_MS)).await {
                return;
            }
        }
    }

    /// The task that deletes a site which is marked; started if there is none.
    fn drive_removal(&self, site: &SiteId) -> SiteRemoval {
        let mut under_way = self.inner.removals.under_way.lock();
        if let Some(is_done) = under_way.get(site) {
            return SiteRemoval { is_done: Some(is_done.clone()) };
        }
        let (done, is_done) = watch::channel(false);
        under_way.insert(site.clone(), is_done.clone());
        drop(under_way);
        let (cluster, site) = (self.clone(), site.clone());
        self.inner.tasks.spawn(async move {
            let mut refused_before = false;
            loop {
                let removed = cluster.remove_all(&site).await;
                let mut under_way = cluster.inner.removals.under_way.lock();
                // Under the lock: somebody may have made the site again, and marked it, and found this task still in the table.
                let is_marked = || cluster.inner.directory.site(&site).map(|row| row.is_some_and(|row| row.deleting));
                let Err(refusal) = removed.and_then(|()| if is_marked()? { Err(owner_changed()) } else { Ok(()) })
                else {
                    under_way.remove(&site);
                    break;
                };
                drop(under_way);
                if !std::mem::replace(&mut refused_before, true) {
                    tracing::warn!(%site, %refusal, "the deletion of a site waits; trying again");
                }
                let pause = refusal.retry_after().unwrap_or(Duration::from_millis(RETRY_UNAVAILABLE_MS));
                if !cluster.pause(pause).await {
                    // What is marked stays marked.
                    return;
                }
            }
            tracing::info!(%site, "a site was deleted");
            done.send_replace(true);
        });
        SiteRemoval { is_done: Some(is_done) }
    }

    /// `false`: the node is stopping.
    async fn pause(&self, pause: Duration) -> bool {
        tokio::select! {
            () = self.inner.stop.cancelled() => false,
            () = sleep_until(Instant::now() + pause) => true,
        }
    }

    async fn remove_all(&self, site: &SiteId) -> Result<(), Refusal> {
        // What was under way in a term before is applied, or never will be.
        self.inner.cell.confirm().await?;
        for (name, _) in self.inner.gateways.rows_of_site(site)? {
            let gateway = GatewayId { site: site.clone(), name };
            self.inner.gateways.erase(&gateway).await?;
            self.end_session(&gateway);
        }
        loop {
            if self.inner.stop.is_cancelled() {
                return Err(owner_changed());
            }
            let twins = self.twins_of(site, REMOVAL_TWINS_AT_ONCE_MAX).await?;
            if twins.is_empty() {
                break;
            }
            self.delete_twins(twins).await?;
        }
        self.erase_devices(site).await?;
        self.inner.directory.erase_site(site).await
    }

    /// Some twins of the site, the first by id.
    async fn twins_of(&self, site: &SiteId, limit: usize) -> Result<Vec<TwinId>, Refusal> {
        let (cell, prefix) = (self.inner.cell.clone(), site_twin::prefix(site));
        let listed = tokio::task::spawn_blocking(move || {
            let scan = cell.reader().scan(Family::SiteTwin, &prefix, None, limit);
            let scan = scan.map_err(|error| unreadable("a site's twins", error))?;
            let twin = |key: &[u8]| site_twin::decode(key).map_err(|error| unreadable("a site's twin", error));
            scan.rows.iter().map(|(key, _)| Ok(twin(key)?.1)).collect()
        });
        listed.await.unwrap_or_else(|_| Err(owner_changed()))
    }

    /// Deletes twins, all at once, and waits: no more than these are under way, so that other traffic keeps its latency.
    async fn delete_twins(&self, twins: Vec<TwinId>) -> Result<(), Refusal> {
        let (told, mut answers) = mpsc::unbounded_channel();
        let told: Arc<dyn Answers> = Arc::new(Told(told));
        let (count, mut deleted) = (twins.len(), 0);
        let batch = twins.into_iter().zip(0..).map(|(twin, index)| Submission {
            twin,
            command: Command::Delete { precondition: Precondition::None },
            bytes: 0,
            reply: Reply::shared(Arc::clone(&told), index),
        });
        self.inner.cell.submit_all(batch.collect());
        drop(told);
        let mut refused = None;
        while let Some(answer) = answers.recv().await {
            match answer {
                Ok(_) => deleted += 1,
                // Somebody else deleted it.
                Err(Refusal::NotFound { .. }) => {}
                Err(refusal) => refused = Some(refusal),
            }
        }
        match refused {
            Some(refusal) => Err(refusal),
            // All of them deleted by others is possible, but not again and again.
            None if deleted == 0 => Err(Refusal::Unavailable {
                message: format!("{count} twins that the site lists were deleted by others"),
                retry_after_ms: RETRY_UNAVAILABLE_MS,
            }),
            None => Ok(()),
        }
    }

    /// What hangs on a site, for people; `None`: nothing.
    async fn hanging_on(&self, site: &SiteId) -> Result<Option<String>, Refusal> {
        let gateways = self.inner.gateways.of_site(site)?.len();
        let twins = self.twins_of(site, SITE_HANGING_SHOWN_MAX).await?.len();
        let or_more = if twins == SITE_HANGING_SHOWN_MAX { " or more" } else { "" };
        let hanging = [
            (twins > 0).then(|| format!("twins ({twins}{or_more})")),
            (gateways > 0).then(|| format!("gateways ({gateways})")),
        ];
        let hanging: Vec<String> = hanging.into_iter().flatten().collect();
        Ok((!hanging.is_empty()).then(|| hanging.join(" and ")))
    }
}

struct Told(mpsc::UnboundedSender<Result<Answer, Refusal>>);

impl Answers for Told {
    fn answer(&self, _: u32, answer: Result<Answer, Refusal>) {
        // The asker waits for all of them.
        let _ = self.0.send(answer);
    }
}
