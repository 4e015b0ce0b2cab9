//! The actors behind the grains: each brings twins to life and carries out what could not be done in place.
//!
//! A command whose twin is not loaded, or whose grain's seat is taken, waits with its grain ([`crate::grains`]), and the grain's activator
//! is told. What must be loaded is read many twins at a time: each twin alone would be a task on a thread for blocking work, and
//! what waits while others are read is read with the next go, as one snapshot. Where the twins are read, what waits for them is
//! carried out, too, as turns of one batch: so a thousand cold twins cost a few messages, tasks and commits, not a thousand.
//!
//! **Invariants**
//! - A grain with commands that wait is in the hands of exactly one activator, always the same one, from the first of them until none
//!   waits any more. So it is loaded once, and what waits is carried out in its order.
//! - Whoever waits is answered: what a go leaves behind, whatever became of it, is refused.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use twin_core::grain::{Grain, Turns};
use twin_core::ids::TwinId;
use twin_core::refusal::Refusal;
use twin_core::twin::Twin;

use crate::cell::{Tenure, owner_changed};
use crate::limits::LOAD_TWINS_MAX;
use crate::loader::load_many;

/// A grain for which commands wait.
pub(crate) struct Called {
    pub(crate) twin: TwinId,
    pub(crate) grain: Grain,
}

/// What an activator is told.
pub(crate) enum Message {
    /// Commands wait for these, which nobody has in hand.
    Called(Arc<Tenure>, Vec<Called>),
    /// Its go is over.
    Over,
}

/// The actor's behaviour.
pub(crate) struct Activator;

/// What it knows.
#[derive(Default)]
pub(crate) struct Calls {
    /// Grains to be loaded, the first call first.
    cold: VecDeque<(Arc<Tenure>, Called)>,
    /// One at a time: with more, they would wait for one disk and few cores, and each would be small.
    is_loading: bool,
}

impl Actor for Activator {
    type Msg = Message;
    type State = Calls;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Message>, (): ()) -> Result<Calls, ActorProcessingErr> {
        Ok(Calls::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<Message>,
        message: Message,
        calls: &mut Calls,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Message::Over => calls.is_loading = false,
            Message::Called(tenure, called) => {
                let (warm, cold): (Vec<_>, Vec<_>) = called.into_iter().partition(|called| called.grain.is_loaded());
                calls.cold.extend(cold.into_iter().map(|called| (Arc::clone(&tenure), called)));
                if !warm.is_empty() {
                    let mut hand = Hand { tenure, called: warm, told: myself.clone() };
                    // The turns catch what fails inside a twin; this is for what nobody thought of.
                    let attended = catch_unwind(AssertUnwindSafe(|| hand.attend(Vec::new())));
                    if attended.is_err() {
                        tracing::error!("commands that waited could not be carried out: a fault of the node");
                    }
                }
            }
        }
        if !calls.is_loading
            && let Some(hand) = calls.next_go(&myself)
        {
            calls.is_loading = true;
            // A cold read may wait for the disk: not on a thread that runs tasks.
            tokio::task::spawn_blocking(move || {
                // Told when all else is dropped, also by a panic.
                let _over = Over(hand.told.clone());
                hand.load();
            });
        }
        Ok(())
    }
}

impl Calls {
    /// What is to be read next: of one owner.
    fn next_go(&mut self, myself: &ActorRef<Message>) -> Option<Hand> {
        let (tenure, first) = self.cold.pop_front()?;
        let mut called = vec![first];
        while called.len() < LOAD_TWINS_MAX
            && self.cold.front().is_some_and(|(other, _)| Arc::ptr_eq(other, &tenure))
            && let Some((_, next)) = self.cold.pop_front()
        {
            called.push(next);
        }
        Some(Hand { tenure, called, told: myself.clone() })
    }
}

/// Says that a go is over.
struct Over(ActorRef<Message>);

impl Drop for Over {
    fn drop(&mut self) {
        // An actor that is gone starts none.
        drop(self.0.send_message(Message::Over));
    }
}

/// Grains in hand. What is left in it when it is dropped is refused.
struct Hand {
    tenure: Arc<Tenure>,
    called: Vec<Called>,
    told: ActorRef<Message>,
}

impl Hand {
    /// Reads the twins, and carries out what waits for them. Blocks.
    fn load(mut self) {
        let twins: Vec<TwinId> = self.called.iter().map(|called| called.twin.clone()).collect();
        let read = load_many(self.tenure.reader(), &twins);
        let mut loaded = Vec::with_capacity(twins.len());
        let mut called = std::mem::take(&mut self.called).into_iter();
        match read {
            Err(refusal) => called.for_each(|called| self.tenure.grains().fail(&called, &refusal)),
            Ok(read) => {
                for read in read {
                    let Some(called) = called.next() else { break };
                    match read {
                        Ok(twin) => {
                            loaded.push(twin);
                            self.called.push(called);
                        }
                        Err(refusal) => self.tenure.grains().fail(&called, &refusal),
                    }
                }
                self.attend(loaded);
            }
        }
    }

    /// Carries out what waits for the grains, whose twins are those that were just `loaded`; or none were, and all are in memory.
    fn attend(&mut self, loaded: Vec<Twin>) {
        let tenure = Arc::clone(&self.tenure);
        let (grains, now) = (tenure.grains(), tenure.now());
        let mut turns = Turns::new(&tenure, now);
        let mut loaded = loaded.into_iter();
        for called in &self.called {
            let seat = match loaded.next() {
                Some(twin) => called.grain.settle_in(&*tenure, twin, now),
                None => called.grain.sit(),
            };
            turns.take_all(seat, grains.take_waiting(called));
        }
        turns.give();
        drop(turns);
        // Others have their turn before what came meanwhile.
        let again: Vec<Called> =
            std::mem::take(&mut self.called).into_iter().filter(|it| grains.still_waits(it)).collect();
        if !again.is_empty()
            && let Err(error) = self.told.send_message(Message::Called(tenure.clone(), again))
        {
            refuse(error);
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        for called in &self.called {
            self.tenure.grains().fail(called, &owner_changed());
        }
    }
}

/// The activator is gone, and with it whoever would carry out what waits.
pub(crate) fn refuse(unsent: ractor::MessagingErr<Message>) {
    tracing::error!(error = %unsent, "an activator is gone: commands for twins that are not active are refused");
    if let ractor::MessagingErr::SendErr(Message::Called(tenure, called)) = unsent {
        let refusal: Refusal = owner_changed();
        for called in &called {
            tenure.grains().fail(called, &refusal);
        }
    }
}
