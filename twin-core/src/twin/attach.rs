//! Which gateway serves the device.
//!
//! A stay attaches once. A compare-and-set on the last number that the gateway saw keeps an attach that was under way
//! for long from taking the device away from the gateway that serves it now.

use super::life::Life;
use super::{Effect, StepContext, Twin};
use crate::command::{Answer, Sender};
use crate::event::OutboundKind;
use crate::mark::{Mark, StayIs};
use crate::numbers::{AttachmentNo, Seq};
use crate::recovery::carried_over;
use crate::refusal::Refusal;
use crate::rows::{ChangedRows, RowKind};

impl Twin {
    pub(super) fn attach(
        &mut self,
        sender: Sender,
        saw: AttachmentNo,
        may_create: bool,
        context: StepContext,
    ) -> Result<Effect, Refusal> {
        if sender.stay.boot.get() == 0 {
            return Err(Refusal::Invalid { message: "a stay's boot is 1 or above".to_owned() });
        }
        if let Some(life) = self.life.as_deref_mut() {
            return life.attach(&sender, saw);
        }
        if !may_create {
            return Err(Refusal::NotFound { twin: self.id.to_string() });
        }
        let mut life = Life::begin(sender.gateway.site.clone(), context.floor, context.now);
        let mut effect = life.attach(&sender, saw)?;
        self.life = Some(Box::new(life));
        effect.changed = ChangedRows::BORN;
        effect.events.insert(0, OutboundKind::Created);
        Ok(effect)
    }
}

impl Life {
    fn attach(&mut self, sender: &Sender, saw: AttachmentNo) -> Result<Effect, Refusal> {
        if sender.gateway.site != self.head.site {
            return Err(Refusal::OtherSite { site: self.head.site.clone() });
        }
        let last = self.hot.attachment;
        if let Some(mark) = self.mark_of(sender) {
            match mark.stay_of(sender) {
                StayIs::Older => return Err(Refusal::Superseded),
                StayIs::Marked => return Ok(self.attach_again(mark.attachment)),
                StayIs::Unknown => {}
            }
        }
        // What a gateway saw after the backup that this twin was restored from is more than the twin knows: see `recovery`.
        let ahead = carried_over(saw, last).filter(|seen| *seen >= last);
        // The first of a life takes the device from nobody, so it needs to have seen nothing.
        if saw != last && last.get() != self.base() && ahead.is_none() {
            return Err(Refusal::Conflict { last });
        }
        // Above what it saw: of two that were attached after the backup, the later one must win, whichever comes first.
        let attachment = ahead.unwrap_or(last).next();
        let mut changed = ChangedRows::from(RowKind::Hot);
        let before = self.gateway().filter(|gateway| **gateway != sender.gateway).cloned();
        let mut mark = match self.hot.mark.take() {
            Some(mark) if mark.gateway == sender.gateway => mark,
            other => {
                // Taken out before the other is put in: a swap of two kept marks evicts none.
                let kept = self.marks.take(&sender.gateway);
                if other.is_some() || kept.is_some() {
                    changed.insert(RowKind::Marks);
                }
                if let Some(other) = other {
                    self.marks.put(other);
                }
                kept.unwrap_or_else(|| self.unknown_gateway(sender))
            }
        };
        mark.begin(sender, attachment);
        self.hot.mark = Some(mark);
        self.hot.attachment = attachment;
        self.hot.attached = true;
        let event = OutboundKind::Attached { gateway: sender.gateway.clone(), attachment, before };
        Ok(Effect { answer: self.attached(attachment), changed, events: vec![event] })
    }

    /// A known stay gets its number again: the answer to its attach was lost. If it has been superseded since, its next
    /// message says so.
    fn attach_again(&mut self, attachment: AttachmentNo) -> Effect {
        let answer = self.attached(attachment);
        if attachment == self.hot.attachment && !self.hot.attached {
            self.hot.attached = true;
            return Effect { answer, ..Effect::done(RowKind::Hot) };
        }
        Effect::unchanged(answer)
    }

    fn attached(&self, attachment: AttachmentNo) -> Answer {
        Answer::Attached { attachment, desired_version: self.desired.section().version() }
    }

    pub(super) fn detach(&mut self, sender: &Sender) -> Result<Effect, Refusal> {
        let current = self.is_current(sender)?;
        if !current {
            return Err(Refusal::Superseded);
        }
        if !self.hot.attached {
            return Ok(Effect::unchanged(Answer::Duplicate));
        }
        self.hot.attached = false;
        Ok(Effect::done(RowKind::Hot).event(OutboundKind::Detached { gateway: sender.gateway.clone() }))
    }

    /// The gateway's mark, wherever it is kept.
    pub(super) fn mark_of(&self, sender: &Sender) -> Option<&Mark> {
        self.hot.mark.as_ref().filter(|mark| mark.gateway == sender.gateway).or_else(|| self.marks.get(&sender.gateway))
    }

    /// Is the sender's stay, which must be one that attached, the latest attachment?
    pub(super) fn is_current(&self, sender: &Sender) -> Result<bool, Refusal> {
        let mark = self.mark_of(sender).ok_or(Refusal::NotAttached)?;
        match mark.stay_of(sender) {
            StayIs::Unknown => Err(Refusal::NotAttached),
            StayIs::Older => Err(Refusal::Superseded),
            StayIs::Marked => Ok(mark.attachment == self.hot.attachment),
        }
    }

    /// A mark for a gateway that has none. Where marks were evicted, or an earlier life knew the gateway, events go on
    /// from wherever the gateway's numbers are; else they begin at 1.
    pub(super) fn unknown_gateway(&self, sender: &Sender) -> Mark {
        let events = if self.may_have_forgotten() { None } else { Some(Seq::default()) };
        Mark::new(sender.gateway.clone(), sender.outbox, events)
    }

    /// May an unknown gateway be one that this id has known?
    pub(super) fn may_have_forgotten(&self) -> bool {
        self.marks.evicted() || self.base() > 0
    }
}
