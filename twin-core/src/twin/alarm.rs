//! Alarms, numbered per stay as state is.

use super::life::Life;
use super::{Effect, StepContext};
use crate::alarm::Alarm;
use crate::command::{Answer, Sender};
use crate::event::OutboundKind;
use crate::mark::{Place, StayIs, check_range, place};
use crate::numbers::Seq;
use crate::refusal::Refusal;
use crate::rows::{ChangedRows, RowKind};

impl Life {
    /// A message of the alarm class.
    ///
    /// **Invariant:** a number takes effect at most once and in order, as with state: the mark moves in the entry that holds the alarm.
    /// Other than state it may come from an attachment that is not the latest, because it overwrites nothing.
    pub(super) fn alarm(
        &mut self,
        sender: &Sender,
        first: Seq,
        last: Seq,
        alarm: Option<Box<Alarm>>,
        context: StepContext,
    ) -> Result<Effect, Refusal> {
        check_range(first, last)?;
        if let Some(alarm) = &alarm {
            if first != last {
                let message = format!("an alarm has one number, this one has {first} to {last}");
                return Err(Refusal::Invalid { message });
            }
            alarm.check()?;
        }
        let base = self.base();
        let (mark, row) = match &mut self.hot.mark {
            Some(mark) if mark.gateway == sender.gateway => (mark, RowKind::Hot),
            _ => (self.marks.get_mut(&sender.gateway).ok_or(Refusal::NotAttached)?, RowKind::Marks),
        };
        match mark.stay_of(sender) {
            StayIs::Unknown => return Err(Refusal::NotAttached),
            StayIs::Older => return Err(Refusal::Superseded),
            StayIs::Marked => {}
        }
        match place(mark.alarm, first, last) {
            Place::Duplicate => return Ok(Effect::unchanged(Answer::Duplicate)),
            Place::Gap { next } => return Err(Refusal::Gap { next }),
            Place::Next => mark.alarm = last,
        }
        let changed = ChangedRows::from(row);
        let Some(alarm) = alarm else { return Ok(Effect::done(changed)) };
        let taken = self.alarms.take(base, sender.gateway.clone(), context.now, *alarm);
        let event = OutboundKind::Alarm { alarm: Box::new(taken.clone()) };
        Ok(Effect::done(changed.with(RowKind::Alarms)).event(event))
    }
}
