//! The step function: a command on a twin gives an answer, changed rows and events.
//!
//! Pure and deterministic: the same commands with the same contexts give the same bytes.
//!
//! **Invariant:** a refused command changes nothing; a command whose step says that no row changed, changed nothing.

mod alarm;
mod attach;
mod calls;
mod device;
mod life;
mod once;
mod read;
mod steer;
mod store;

use crate::command::{Answer, Command};
use crate::event::{Outbound, OutboundKind};
use crate::ids::TwinId;
use crate::numbers::{Floor, WallTime};
use crate::refusal::Refusal;
use crate::rows::ChangedRows;
use device::Said;
use life::Life;

/// Everything known about one id, whether its twin exists or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Twin {
    id: TwinId,
    /// Boxed: most ids that are asked about and absent should cost nothing, and grains are many.
    life: Option<Box<Life>>,
}

/// What a step needs from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepContext {
    /// The node's wall clock: data only.
    pub now: WallTime,
    /// Everything that is created now starts above this.
    pub floor: Floor,
    /// Somebody hears of reports. If nobody does, [`OutboundKind::Reported`] is not made.
    pub observed: bool,
}

/// What a step did.
#[derive(Debug, PartialEq)]
pub struct Step {
    /// For whoever asked, once what changed is committed.
    pub answer: Result<Answer, Refusal>,
    /// Rows to be committed: [`Twin::encode`] makes them.
    pub changed: ChangedRows,
    /// For observers and gateways, once it is committed.
    pub events: Vec<Outbound>,
    /// After a delete: what the home slot's floor must be raised to in the same commit.
    pub delete_floor: Option<Floor>,
}

/// What a command did, before it is dressed as a [`Step`].
struct Effect {
    answer: Answer,
    changed: ChangedRows,
    events: Vec<OutboundKind>,
}

impl Effect {
    fn unchanged(answer: Answer) -> Self {
        Self { answer, changed: ChangedRows::NONE, events: Vec::new() }
    }

    fn done(changed: impl Into<ChangedRows>) -> Self {
        Self { answer: Answer::Done, changed: changed.into(), events: Vec::new() }
    }

    fn event(mut self, event: OutboundKind) -> Self {
        self.events.push(event);
        self
    }
}

impl Twin {
    /// A twin that does not exist.
    pub fn absent(id: TwinId) -> Self {
        Self { id, life: None }
    }

    /// Its id.
    pub fn id(&self) -> &TwinId {
        &self.id
    }

    /// Does it exist?
    pub fn exists(&self) -> bool {
        self.life.is_some()
    }

    /// Carries out one command.
    pub fn step(&mut self, command: Command, context: StepContext) -> Step {
        if let Command::Delete { precondition } = command {
            return self.delete(&precondition, context);
        }
        let effect = self.effect_of(command, context);
        self.step_of(effect, context)
    }

    fn step_of(&self, effect: Result<Effect, Refusal>, context: StepContext) -> Step {
        match effect {
            Ok(Effect { answer, changed, events }) => {
                let events = self.dress(events, context.now);
                Step { answer: Ok(answer), changed, events, delete_floor: None }
            }
            Err(refusal) => refused(refusal),
        }
    }

    fn effect_of(&mut self, command: Command, context: StepContext) -> Result<Effect, Refusal> {
        match command {
            Command::Put { site, tags, desired, precondition } => {
                let (effect, created) = self.put(site, tags, desired, &precondition, context)?;
                Ok(Effect { answer: self.document_answer(created)?, ..effect })
            }
            Command::PutBriefly { site, tags, desired, precondition } => {
                let (effect, created) = self.put(site, tags, desired, &precondition, context)?;
                Ok(Effect { answer: self.life()?.steered(created), ..effect })
            }
            Command::Steer { tags, desired, precondition } => {
                self.check_precondition(&precondition)?;
                let effect = self.life_mut()?.steer(tags, desired, context.now)?;
                Ok(Effect { answer: self.document_answer(false)?, ..effect })
            }
            Command::SteerBriefly { tags, desired, precondition } => {
                self.check_precondition(&precondition)?;
                let life = self.life_mut()?;
                let effect = life.steer(tags, desired, context.now)?;
                Ok(Effect { answer: life.steered(false), ..effect })
            }
            Command::Delete { .. } | Command::Once(_) => {
                Err(Refusal::Invalid { message: "a delete, or a change with a key, is a step of its own".to_owned() })
            }
            Command::Read => Ok(Effect::unchanged(self.document_answer(false)?)),
            Command::View { audience } => Ok(Effect::unchanged(self.view_answer(&audience)?)),
            Command::ReadDelta { since } => Ok(Effect::unchanged(Answer::Delta(self.life()?.desired.delta(since)))),
            Command::Attach { sender, saw, may_create } => self.attach(sender, saw, may_create, context),
            Command::Detach { sender } => self.life_mut()?.detach(&sender),
            Command::State { sender, first, last, body } => {
                self.life_mut()?.state(&sender, first, last, body.into(), context)
            }
            Command::Report { sender, first, last, report } => {
                self.life_mut()?.state(&sender, first, last, Said::Report(report), context)
            }
            Command::Alarm { sender, first, last, alarm } => {
                self.life_mut()?.alarm(&sender, first, last, alarm, context)
            }
            Command::ReadAlarms => Ok(Effect::unchanged(Answer::Alarms(self.life()?.alarms.kept().cloned().collect()))),
            Command::Event { sender, boot, seq, name, payload } => {
                self.life_mut()?.event(sender, boot, seq, name, payload)
            }
            Command::DesiredDelivered { gateway, version } => self.life_mut()?.delivered(&gateway, version),
            Command::CallMethod { method, payload, timeout_ms: _ } => self.life_mut()?.call(method, &payload),
            Command::CloseCall { call, end } => Ok(self.life_mut()?.close_call(call, end)),
        }
    }

    fn life(&self) -> Result<&Life, Refusal> {
        self.life.as_deref().ok_or_else(|| Refusal::NotFound { twin: self.id.to_string() })
    }

    fn life_mut(&mut self) -> Result<&mut Life, Refusal> {
        self.life.as_deref_mut().ok_or_else(|| Refusal::NotFound { twin: self.id.to_string() })
    }

    fn dress(&self, kinds: Vec<OutboundKind>, at: WallTime) -> Vec<Outbound> {
        let Some(life) = &self.life else { return Vec::new() };
        kinds
            .into_iter()
            .map(|kind| Outbound {
                twin: self.id.clone(),
                site: life.head.site.clone(),
                incarnation: life.head.incarnation,
                at,
                kind,
            })
            .collect()
    }
}

fn refused(refusal: Refusal) -> Step {
    Step { answer: Err(refusal), changed: ChangedRows::NONE, events: Vec::new(), delete_floor: None }
}
