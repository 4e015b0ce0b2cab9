//! What devices say: reports, events, alarms, and what they took over of `desired`. Each is durable when its call returns.

use std::sync::Arc;
use std::time::Duration;

use twin_core::alarm::Severity;
use twin_core::ids::TwinId;
use twin_core::numbers::Version;
use twin_core::path::Path;
use twin_core::value::Value;

use super::Gateway;
use crate::core::admission::AppendError;
use crate::core::append::{Appended, Drafts};
use crate::draft::{self, Report};
use crate::error::ReportError;
use crate::limits::{RETRY_AFTER_MAX, UNCOMMITTED_BYTES_MAX};
use crate::outbox::body::Body;
use crate::receipt::{Receipt, Receipts};
use crate::update::{Property, Update};

impl Gateway {
    /// Reports: a merge patch of the device's `reported` (null removes). Returns once it is durable: in the outbox, or with the
    /// node, whichever is first.
    ///
    /// While the disk is full it is refused with a time to try again ([`AppendError::NoRoom`]), unless the node's ack is all that it needs.
    /// What was taken before that waits for whichever comes first: the ack, or room.
    pub async fn report(&self, twin: &TwinId, patch: &serde_json::Value) -> Result<Receipt, ReportError> {
        self.report_value(twin, draft::value_of(patch)?).await
    }

    /// As [`Gateway::report`], for a value of ours.
    pub async fn report_value(&self, twin: &TwinId, patch: Value) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), patch)])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// As [`Gateway::report`], but at the cap of the outbox waits for room whatever the options say.
    pub async fn report_waiting(&self, twin: &TwinId, patch: &serde_json::Value) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), draft::value_of(patch)?)])?;
        self.append_one(drafts, true).await
    }

    /// Reports, and stores in the same commit how far the source is. The position must rise. It is sent only once it is
    /// durable, so that a source that goes on from [`Gateway::position`] has each row take effect once.
    pub async fn report_at(
        &self,
        twin: &TwinId,
        patch: &serde_json::Value,
        source: &str,
        position: u64,
    ) -> Result<Receipt, ReportError> {
        let drafts = self.drafted([Report::new(twin.clone(), draft::value_of(patch)?).at(source, position)])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// Reports many, in this order, in one commit: all of them, or none. [`Gateway::report_all`] gives one receipt for all.
    pub async fn report_many(&self, reports: Vec<Report>) -> Result<Vec<Receipt>, ReportError> {
        Ok(self.report_all(reports).await?.into_iter().collect())
    }

    /// As [`Gateway::report_many`], with one receipt for all.
    pub async fn report_all(&self, reports: Vec<Report>) -> Result<Receipts, ReportError> {
        let drafts = self.drafted(reports)?;
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// Prepares a property of `reported` for [`Update`]s, by its JSON pointer.
    pub fn property(&self, pointer: &str) -> Result<Property, ReportError> {
        Property::new(pointer, &self.shared.dictionary)
    }

    /// Reports prepared properties: the cheapest way. Returns once it is durable, as [`Gateway::report`].
    pub async fn update(&self, update: Update) -> Result<Receipt, ReportError> {
        let drafts = self.updated([update])?;
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    /// Reports prepared properties of many, in this order, in one commit: all of them, or none.
    pub async fn update_all(&self, updates: Vec<Update>) -> Result<Receipts, ReportError> {
        let drafts = self.updated(updates)?;
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// The last durable position of a source; `None`: none yet.
    pub fn position(&self, source: &str) -> Option<u64> {
        self.shared.core.lock().positions.get(source).copied()
    }

    /// Tells of an event. Events of a device are in order, and need no attach.
    pub async fn event(&self, twin: &TwinId, name: &str, payload: &serde_json::Value) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::event(name, draft::value_of(payload)?)?).await
    }

    /// Raises an alarm of a device: durable as a report, numbered and sent by itself, so that no backlog of state or events is before
    /// it, and with a share of every budget kept for it: a full outbox and a full node still take alarms. It is part of no document;
    /// observers hear of it, and the twin keeps the latest. The time is this gateway's; the payload has at most
    /// [`ALARM_PAYLOAD_BYTES_MAX`](twin_core::limits::ALARM_PAYLOAD_BYTES_MAX) bytes.
    pub async fn alarm(
        &self,
        twin: &TwinId,
        name: &str,
        severity: Severity,
        payload: &serde_json::Value,
    ) -> Result<Receipt, ReportError> {
        let raised_at = self.shared.clock.wall();
        self.append_body(twin, &draft::alarm(name, severity, raised_at, draft::value_of(payload)?)?).await
    }

    /// The device has taken over everything up to this version of `desired`.
    pub async fn ack_desired(&self, twin: &TwinId, version: Version) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::applied(version)).await
    }

    /// The devices have taken over everything up to these versions of `desired`: as [`Gateway::ack_desired`] for each, in one
    /// commit of the outbox. All of them, or none.
    pub async fn ack_desired_all(
        &self,
        applied: impl IntoIterator<Item = (TwinId, Version)>,
    ) -> Result<Receipts, ReportError> {
        let mut drafts = Drafts::default();
        for (twin, version) in applied {
            drafts.add(twin, &draft::applied(version), &self.shared.dictionary);
        }
        self.append(drafts, self.running.wait_at_cap).await
    }

    /// The device rejects what this version of `desired` set at this path.
    pub async fn reject_desired(
        &self,
        twin: &TwinId,
        path: &Path,
        version: Version,
        reason: &str,
    ) -> Result<Receipt, ReportError> {
        self.append_body(twin, &draft::rejected(path, version, reason)?).await
    }

    fn drafted(
        &self,
        reports: impl IntoIterator<Item = Report, IntoIter: ExactSizeIterator>,
    ) -> Result<Drafts, ReportError> {
        let reports = reports.into_iter();
        let mut drafts = Drafts::with_capacity(reports.len());
        for report in reports {
            report.draft(&self.shared.dictionary, &mut drafts)?;
        }
        Ok(drafts)
    }

    fn updated(
        &self,
        updates: impl IntoIterator<Item = Update, IntoIter: ExactSizeIterator>,
    ) -> Result<Drafts, ReportError> {
        let updates = updates.into_iter();
        let mut drafts = Drafts::with_capacity(updates.len());
        let identity = self.shared.dictionary.read().identity();
        for update in updates {
            update.draft(identity, &mut drafts)?;
        }
        Ok(drafts)
    }

    async fn append_body(&self, twin: &TwinId, body: &Body) -> Result<Receipt, ReportError> {
        let drafts = Drafts::one(twin.clone(), body, &self.shared.dictionary);
        self.append_one(drafts, self.running.wait_at_cap).await
    }

    async fn append_one(&self, drafts: Drafts, wait_at_cap: bool) -> Result<Receipt, ReportError> {
        // One draft gives one receipt.
        let receipts = self.append(drafts, wait_at_cap).await?;
        receipts.into_iter().next().ok_or(ReportError::Append(AppendError::ShutDown))
    }

    async fn append(&self, drafts: Drafts, wait_at_cap: bool) -> Result<Receipts, ReportError> {
        if drafts.items.is_empty() {
            // Nothing is queued, so no commit would come to wait for.
            return Ok(Receipts { shared: Arc::clone(&self.shared), stamped: Vec::new() });
        }
        let mut drafts = Some(drafts);
        let Appended { stamped, promises } = loop {
            let taken = self.shared.until(|core, now| {
                if core.writes.queued_bytes() > UNCOMMITTED_BYTES_MAX && core.failure().is_none() {
                    return None;
                }
                match core.append(drafts.take()?, now) {
                    Ok(appended) => Some(Ok(appended)),
                    Err((error @ AppendError::FlashBudget { .. }, back)) => {
                        drafts = Some(back);
                        Some(Err(error))
                    }
                    Err((AppendError::Full { .. } | AppendError::NoRoom { .. }, back)) if wait_at_cap => {
                        drafts = Some(back);
                        None
                    }
                    Err((error, _)) => Some(Err(error)),
                }
            });
            match taken.await {
                Ok(appended) => break appended,
                // Nothing but time brings that back, and nobody tells of it; an ack may make it needless.
                Err(AppendError::FlashBudget { retry_after_ms, .. }) if wait_at_cap => {
                    let until =
                        tokio::time::Instant::now() + Duration::from_millis(retry_after_ms).min(RETRY_AFTER_MAX);
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = self.shared.room_wake.notified() => {}
                        () = self.shared.stop.cancelled() => return Err(AppendError::ShutDown.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        promises.wait().await.map_err(|message| ReportError::NotDurable { message: message.to_string() })?;
        Ok(Receipts { shared: Arc::clone(&self.shared), stamped })
    }
}
