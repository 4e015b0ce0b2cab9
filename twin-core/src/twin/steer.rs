//! The back office's writes: tags, desired, existence.

use super::life::Life;
use super::{Effect, Step, StepContext, Twin, refused};
use crate::command::{Answer, ChangeKind, Precondition, SectionChange};
use crate::convergence::concerns;
use crate::delta::Desired;
use crate::event::OutboundKind;
use crate::ids::SiteId;
use crate::numbers::{Floor, Version, WallTime};
use crate::path::Path;
use crate::refusal::Refusal;
use crate::rows::{ChangedRows, RowKind};
use crate::section::{Section, Stamp};
use crate::value::Value;

impl Twin {
    pub(super) fn check_precondition(&self, precondition: &Precondition) -> Result<(), Refusal> {
        let failed = |message: String| Err(Refusal::PreconditionFailed { message });
        match (precondition, self.life.as_deref()) {
            (Precondition::None, _) | (Precondition::Exists, Some(_)) | (Precondition::Absent, None) => Ok(()),
            (Precondition::Exists, None) => failed(format!("If-Match: *, but there is no twin {}", self.id)),
            (Precondition::Absent, Some(_)) => failed(format!("If-None-Match: *, but there is a twin {}", self.id)),
            (Precondition::AnyOf(etags), None) => {
                failed(format!("If-Match: {}, but there is no twin {}", shown(etags), self.id))
            }
            (Precondition::AnyOf(etags), Some(life)) => {
                let current = life.steering_etag();
                if etags.contains(&current) {
                    return Ok(());
                }
                failed(format!("If-Match: {}, but the etag is \"{current}\"", shown(etags)))
            }
        }
    }

    /// Also: was the twin created? The answer is the caller's to fill in.
    pub(super) fn put(
        &mut self,
        site: Option<SiteId>,
        tags: Value,
        desired: Value,
        precondition: &Precondition,
        context: StepContext,
    ) -> Result<(Effect, bool), Refusal> {
        self.check_precondition(precondition)?;
        let whole = |value| Some(SectionChange { at: Path::root(), kind: ChangeKind::Replace(value) });
        if let Some(life) = self.life.as_deref_mut() {
            if site.is_some_and(|site| site != life.head.site) {
                return Err(Refusal::OtherSite { site: life.head.site.clone() });
            }
            return Ok((life.steer(whole(tags), whole(desired), context.now)?, false));
        }
        let site = site.unwrap_or_else(SiteId::default_site);
        let life = Life::with_sections(site, context, tags, desired)?;
        self.life = Some(Box::new(life));
        Ok((Effect { answer: Answer::Done, changed: ChangedRows::BORN, events: vec![OutboundKind::Created] }, true))
    }

    pub(super) fn delete(&mut self, precondition: &Precondition, context: StepContext) -> Step {
        if let Err(refusal) = self.check_precondition(precondition) {
            return refused(refusal);
        }
        let Some(life) = &self.life else {
            return refused(Refusal::NotFound { twin: self.id.to_string() });
        };
        let floor = Floor::new(life.highest().max(context.floor.get()));
        let events = self.dress(vec![OutboundKind::Deleted], context.now);
        self.life = None;
        Step { answer: Ok(Answer::Done), changed: ChangedRows::ALL, events, delete_floor: Some(floor) }
    }
}

fn shown(etags: &[String]) -> String {
    if etags.is_empty() {
        return "no etag that can match (a weak one never does)".to_owned();
    }
    etags.iter().map(|etag| format!("\"{etag}\"")).collect::<Vec<_>>().join(", ")
}

impl Life {
    /// A new life that begins with these sections.
    fn with_sections(site: SiteId, context: StepContext, tags: Value, desired: Value) -> Result<Self, Refusal> {
        let mut life = Self::begin(site, context.floor, context.now);
        if let Some(filled) = first_version(tags, context)? {
            life.head.tags = filled;
        }
        if let Some(filled) = first_version(desired, context)? {
            life.desired = Desired::with_first(filled);
        }
        Ok(life)
    }

    /// What became of the twin, in brief.
    pub(super) fn steered(&self, created: bool) -> Answer {
        Answer::Steered {
            created,
            version: self.version(),
            desired_version: self.desired.section().version(),
            steering_etag: self.steering_etag(),
        }
    }

    /// Both sections or none; the answer is the caller's to fill in.
    pub(super) fn steer(
        &mut self,
        tags: Option<SectionChange>,
        desired: Option<SectionChange>,
        now: WallTime,
    ) -> Result<Effect, Refusal> {
        let mut effect = Effect::unchanged(Answer::Done);
        let next_tags = match tags {
            Some(change) => {
                let mut next = self.head.tags.clone();
                let ops = next.ops_of(change)?;
                next.apply(ops, now)?.map(|effective| (next, effective))
            }
            None => None,
        };
        if let Some(change) = desired {
            let ops = self.desired.section().ops_of(change)?;
            // The last that can be refused: from here on all is carried out.
            if let Some(ops) = self.desired.apply(ops, now)? {
                let section = self.desired.section();
                let rejections = self.head.rejections.len();
                self.head.rejections.retain(|rejection| concerns(section, rejection));
                if self.head.rejections.len() != rejections {
                    effect.changed.insert(RowKind::Head);
                }
                effect.changed.insert(RowKind::Desired);
                let (version, gateway) = (section.version(), self.gateway().cloned());
                effect = effect.event(OutboundKind::Desired { version, ops, gateway });
            }
        }
        if let Some((next, ops)) = next_tags {
            let version = next.version();
            self.head.tags = next;
            effect.changed.insert(RowKind::Head);
            effect = effect.event(OutboundKind::Tags { version, ops });
        }
        Ok(effect)
    }
}

/// A section whose first version already holds `value`: it is filled one version early, in a version that nobody ever
/// sees. `None`: there is nothing to fill in.
fn first_version<S: Stamp>(value: Value, context: StepContext) -> Result<Option<Section<S>>, Refusal> {
    let mut section = Section::new(Version::new(context.floor.get()), context.now);
    let ops = section.ops_of(SectionChange { at: Path::root(), kind: ChangeKind::Replace(value) })?;
    Ok(section.apply(ops, context.now)?.map(|_| section))
}
