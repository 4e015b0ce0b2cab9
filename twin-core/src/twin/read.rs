//! Readings: the document, and what waits.

use super::Twin;
use crate::command::Answer;
use crate::convergence::Progress;
use crate::document::TwinDocument;
use crate::refusal::Refusal;
use crate::rows::OpenCall;
use crate::view::{Audience, Shown, TwinView, pack};

impl Twin {
    /// The whole document.
    pub fn document(&self) -> Result<TwinDocument, Refusal> {
        let life = self.life()?;
        let desired = life.desired.section();
        let progress = self.progress()?;
        let reported = &progress.reported;
        Ok(TwinDocument {
            id: self.id.clone(),
            site: life.head.site.clone(),
            incarnation: life.head.incarnation,
            version: life.version(),
            steering_etag: life.steering_etag(),
            tags: life.head.tags.to_value(),
            tags_version: life.head.tags.version(),
            desired: desired.to_json(),
            desired_version: desired.version(),
            delivered: life.head.delivered,
            acked: life.head.acked,
            reported: reported.to_json(),
            reported_version: reported.version(),
            convergence: progress.to_json(),
            gateway: life.gateway().cloned(),
            attachment: life.hot.attachment,
            reported_at: reported.updated(),
            last_activity: life.reported_at(),
        })
    }

    pub(super) fn document_answer(&self, created: bool) -> Result<Answer, Refusal> {
        Ok(Answer::Document { document: Box::new(self.document()?), created })
    }

    /// The whole document, packed for its audience.
    pub fn view(&self, audience: &Audience) -> Result<TwinView, Refusal> {
        let life = self.life()?;
        let office = match audience {
            // A gateway does not learn whether twins of other sites exist.
            Audience::Site(site) if *site != life.head.site => {
                return Err(Refusal::NotFound { twin: self.id.to_string() });
            }
            Audience::Site(_) => None,
            Audience::BackOffice => Some((&life.head.site, life.gateway(), &life.head.tags)),
        };
        Ok(pack(&Shown {
            incarnation: life.head.incarnation,
            attachment: life.hot.attachment,
            tags_version: life.head.tags.version(),
            delivered: life.head.delivered,
            acked: life.head.acked,
            rejections: &life.head.rejections,
            desired: life.desired.section(),
            reported: &life.hot.reported,
            office,
        }))
    }

    pub(super) fn view_answer(&self, audience: &Audience) -> Result<Answer, Refusal> {
        let last_activity = self.life()?.reported_at();
        Ok(Answer::View { view: self.view(audience)?, last_activity })
    }

    /// How far the device has followed.
    pub fn progress(&self) -> Result<Progress<'_>, Refusal> {
        let life = self.life()?;
        Ok(Progress {
            desired: life.desired.section(),
            reported: life.hot.reported.to_section(),
            delivered: life.head.delivered,
            acked: life.head.acked,
            rejections: &life.head.rejections,
        })
    }

    /// Method calls that are open. Right after a load nobody waits for them any more: they went down before a crash or a
    /// move, and are closed, not sent again.
    pub fn stale_calls(&self) -> &[OpenCall] {
        self.life.as_deref().map_or(&[], |life| &life.head.open_calls)
    }
}
