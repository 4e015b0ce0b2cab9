//! What comes up from the device: reports, acknowledgements, rejections, events.

use super::life::Life;
use super::{Effect, StepContext};
use crate::command::{Answer, Sender, StateBody};
use crate::convergence::{Rejection, concerns, keep};
use crate::event::OutboundKind;
use crate::ids::GatewayId;
use crate::limits::REASON_BYTES_MAX;
use crate::mark::{Place, check_range, place};
use crate::numbers::{Boot, Seq, Version};
use crate::path::Path;
use crate::refusal::Refusal;
use crate::report::PackedReport;
use crate::rows::{ChangedRows, RowKind};
use crate::rules::{check_name, check_ops, check_path, check_payload};
use crate::section::{Overwrite, PackedReported, SectionKind};
use crate::value::Value;

/// What a numbered message of the twin-state class says.
#[derive(Debug, PartialEq)]
pub(super) enum Said {
    /// A report as it came.
    Report(PackedReport),
    Other(StateBody),
}

impl From<StateBody> for Said {
    fn from(body: StateBody) -> Self {
        Self::Other(body)
    }
}

impl Life {
    /// A message of the twin-state class.
    ///
    /// **Invariant:** only the latest attachment writes; what its gateway held when the device roamed is superseded. A
    /// number that took effect before is a duplicate whoever serves the device now, and a refusal moves no number.
    pub(super) fn state(
        &mut self,
        sender: &Sender,
        first: Seq,
        last: Seq,
        said: Said,
        context: StepContext,
    ) -> Result<Effect, Refusal> {
        check_range(first, last)?;
        let current = self.is_current(sender)?;
        let seen = self.mark_of(sender).map(|mark| mark.state).unwrap_or_default();
        match place(seen, first, last) {
            Place::Duplicate => return Ok(Effect::unchanged(Answer::Duplicate)),
            Place::Gap { next } if current || said == Said::Other(StateBody::Lost) => {
                return Err(Refusal::Gap { next });
            }
            Place::Gap { .. } | Place::Next => {}
        }
        if !current && said != Said::Other(StateBody::Lost) {
            return Err(Refusal::Superseded);
        }
        let mut effect = match said {
            Said::Report(report) => self.report(&report, context)?,
            Said::Other(StateBody::Report(ops)) => self.report(&PackedReport::from(&ops[..]), context)?,
            Said::Other(StateBody::DesiredApplied(version)) => self.applied(version),
            Said::Other(StateBody::DesiredRejected { path, version, reason }) => {
                self.rejected(path, version, reason)?
            }
            Said::Other(StateBody::Lost) => Effect::done(ChangedRows::NONE),
        };
        // The mark moves even where nothing else did: the number is taken.
        if current {
            if let Some(mark) = &mut self.hot.mark {
                mark.state = last;
            }
            effect.changed.insert(RowKind::Hot);
        } else {
            if let Some(mark) = self.marks.get_mut(&sender.gateway) {
                mark.state = last;
            }
            effect.changed.insert(RowKind::Marks);
        }
        Ok(effect)
    }

    /// Nearly every report overwrites what stands: that is done in the stored bytes. The tree is for the others.
    fn report(&mut self, report: &PackedReport, context: StepContext) -> Result<Effect, Refusal> {
        let effect = Effect::done(RowKind::Hot);
        let ops = match self.hot.reported.overwrite(report, context.now) {
            Overwrite::Unchanged => return Ok(effect),
            Overwrite::Changed(reported, effective) => {
                self.hot.reported = reported;
                context.observed.then(|| report.only(effective))
            }
            Overwrite::NeedsTree => {
                let ops = report.unpack();
                check_ops(&ops, SectionKind::Reported)?;
                let mut reported = self.hot.reported.to_section();
                let Some(ops) = reported.apply(ops, context.now)? else { return Ok(effect) };
                self.hot.reported = PackedReported::from(&reported);
                context.observed.then(|| PackedReport::from(&ops[..]))
            }
        };
        let version = self.hot.reported.version();
        Ok(match ops {
            Some(ops) => effect.event(OutboundKind::Reported { version, ops }),
            None => effect,
        })
    }

    fn applied(&mut self, version: Version) -> Effect {
        let version = version.min(self.desired.section().version());
        if version <= self.head.acked {
            return Effect::done(ChangedRows::NONE);
        }
        self.head.acked = version;
        self.head.delivered = self.head.delivered.max(version);
        Effect::done(RowKind::Head).event(OutboundKind::Applied { version })
    }

    fn rejected(&mut self, path: Path, version: Version, reason: String) -> Result<Effect, Refusal> {
        check_path(&path, SectionKind::Desired)?;
        if reason.len() > REASON_BYTES_MAX {
            return Err(Refusal::TooLarge {
                what: "the reason of a rejection".to_owned(),
                pointer: format!("/desired{path}"),
                size_bytes: reason.len() as u64,
                limit_bytes: REASON_BYTES_MAX as u64,
            });
        }
        let version = version.min(self.desired.section().version());
        let rejection = Rejection { path, version, reason };
        if !concerns(self.desired.section(), &rejection) {
            // Superseded: another value, or none, is desired by now.
            return Ok(Effect::done(ChangedRows::NONE));
        }
        self.head.delivered = self.head.delivered.max(version);
        let Rejection { path, version, reason } = rejection.clone();
        keep(&mut self.head.rejections, rejection);
        Ok(Effect::done(RowKind::Head).event(OutboundKind::Rejected { path, version, reason }))
    }

    /// An event. It needs no attachment, but a twin that may have forgotten the gateway wants to be attached first,
    /// or the first number.
    pub(super) fn event(
        &mut self,
        sender: Sender,
        boot: Boot,
        seq: Seq,
        name: String,
        payload: Value,
    ) -> Result<Effect, Refusal> {
        if sender.gateway.site != self.head.site {
            return Err(Refusal::OtherSite { site: self.head.site.clone() });
        }
        check_range(seq, seq)?;
        check_name(&name, "event")?;
        check_payload(&payload, "event")?;
        let (row, taken) = match &mut self.hot.mark {
            Some(mark) if mark.gateway == sender.gateway => (RowKind::Hot, mark.take_event(sender.outbox, boot, seq)?),
            _ => {
                if let Some(mark) = self.marks.get_mut(&sender.gateway) {
                    (RowKind::Marks, mark.take_event(sender.outbox, boot, seq)?)
                } else {
                    if self.may_have_forgotten() && seq != Seq::new(1) {
                        return Err(Refusal::NotAttached);
                    }
                    let mut mark = self.unknown_gateway(&sender);
                    let taken = mark.take_event(sender.outbox, boot, seq)?;
                    self.marks.put(mark);
                    (RowKind::Marks, taken)
                }
            }
        };
        if !taken {
            return Ok(Effect::unchanged(Answer::Duplicate));
        }
        Ok(Effect::done(row).event(OutboundKind::Event { name, payload }))
    }

    /// The attached gateway has `desired` up to a version.
    pub(super) fn delivered(&mut self, gateway: &GatewayId, version: Version) -> Result<Effect, Refusal> {
        if self.hot.mark.as_ref().is_none_or(|mark| mark.gateway != *gateway) {
            return Err(Refusal::NotAttached);
        }
        let version = version.min(self.desired.section().version());
        if version <= self.head.delivered {
            return Ok(Effect::unchanged(Answer::Duplicate));
        }
        self.head.delivered = version;
        Ok(Effect::done(RowKind::Head).event(OutboundKind::Delivered { version }))
    }
}
