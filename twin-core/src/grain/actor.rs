//! The actor behind a grain: it loads the twin, and works through what could not be done in place.

use std::future::Future;
use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tracing::Span;

use super::done::Done;
use super::owner::{Change, Owner};
use super::reply::Reply;
use super::seat::Grain;
use super::turns::Outcomes;
use crate::clock::Clock;
use crate::command::{CallEnd, Command};
use crate::ids::TwinId;
use crate::numbers::Floor;
use crate::twin::{StepContext, Twin};

/// A message to a grain.
pub struct Ask<A> {
    /// What to do.
    pub command: Command,
    /// Where the answer goes.
    pub reply: Reply,
    /// What admitted the command; released with the answer.
    pub admission: A,
    /// Parent of the grain's and the commit's spans, where the command is traced; otherwise [`Span::none`], which costs
    /// nothing.
    pub span: Span,
}

/// What grains' actors are sent. Boxed: ractor's loop keeps room for a message several times over, in each actor for as long as it
/// lives.
pub type Message<A> = Box<Ask<A>>;

impl Grain {
    /// Puts a message into the mailbox of the grain's actor. If the actor is gone, the message comes back.
    pub fn send<A: Send + 'static>(&self, actor: &ActorRef<Message<A>>, ask: Ask<A>) -> Result<(), Box<dyn Send>> {
        self.message_sent();
        actor.send_message(Box::new(ask)).map_err(|error| Box::new(error) as Box<dyn Send>)
    }
}

/// The actor's behaviour; its twin is in the [`Grain`]'s seat.
pub struct GrainActor<O> {
    twin: TwinId,
    owner: Arc<O>,
    clock: Arc<dyn Clock>,
    grain: Grain,
}

impl<O: Owner> GrainActor<O> {
    /// The actor of `grain`, which is that of `twin`, owned by `owner`. Spawn it unnamed.
    pub fn new(twin: TwinId, owner: Arc<O>, clock: Arc<dyn Clock>, grain: Grain) -> Self {
        Self { twin, owner, clock, grain }
    }

    /// Method calls that were open when the twin was last active: nobody waits for them here, nothing sends them again, and
    /// left open they would use up the twin's share of open calls.
    fn close_stale_calls(&self, twin: &mut Twin) -> Vec<Change> {
        let stale: Vec<_> = twin.stale_calls().iter().map(|open| open.call).collect();
        let close = |call| {
            let context = StepContext { now: self.clock.wall(), floor: Floor::default(), observed: false };
            let step = twin.step(Command::CloseCall { call, end: CallEnd::Unknown }, context);
            let rows = twin.encode(step.changed);
            Change { twin: self.twin.clone(), rows, events: step.events, delete_floor: None }
        };
        stale.into_iter().map(close).collect()
    }

    fn settle_in(&self, loaded: Twin) {
        let mut seat = self.grain.sit();
        for change in self.close_stale_calls(seat.put(loaded)) {
            // If this is not committed the grain is thrown away, and the next one closes them.
            let ticket = self.owner.commit(vec![change], Done::call(|_| ()));
            seat.committed_as(ticket);
        }
    }

    /// The first message.
    async fn load(
        &self,
        myself: ActorRef<Message<O::Admission>>,
        ask: Message<O::Admission>,
    ) -> Result<(), ActorProcessingErr> {
        match self.owner.load(&self.twin).await {
            Ok(twin) => {
                self.settle_in(twin);
                self.take_turn(*ask);
            }
            Err(refusal) => {
                self.owner.failed(&self.twin, &refusal);
                ask.reply.send(Err(refusal));
                // What waits behind is answered `Unavailable` as the mailbox is dropped.
                myself.stop(None);
            }
        }
        Ok(())
    }

    fn take_turn(&self, Ask { command, reply, admission, span }: Ask<O::Admission>) {
        let mut seat = self.grain.sit();
        let mut outcomes = Outcomes::new(&self.owner, self.clock.wall(), admission, span);
        let has_changed = outcomes.turn(&mut seat, command, reply);
        if let Some(ticket) = outcomes.give().filter(|_| has_changed) {
            seat.committed_as(ticket);
        }
        self.grain.message_done();
    }
}

impl<O: Owner> Actor for GrainActor<O> {
    type Msg = Message<O::Admission>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    // Most messages find the twin loaded and await nothing. What awaits is boxed, as ractor's loop keeps room for it, too.
    fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        ask: Self::Msg,
        (): &mut (),
    ) -> impl Future<Output = Result<(), ActorProcessingErr>> + Send {
        let mut loading = None;
        if self.grain.sit().is_loaded() {
            self.take_turn(*ask);
        } else {
            loading = Some(Box::pin(self.load(myself, ask)));
        }
        async move {
            match loading {
                Some(loading) => loading.await,
                None => Ok(()),
            }
        }
    }
}
