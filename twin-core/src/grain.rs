//! The grain: one ractor actor per active twin, one message at a time.
//!
//! A grain works ahead of the log. It applies a command to its twin in memory, hands the changed rows to its
//! [`Owner`] and takes the next message at once, on top of what is still in flight; the answer leaves only when the owner
//! says that the rows are committed. If the owner refuses, everything the grain did since is worthless: the owner throws
//! the grain away (see the chain rule of the committer) and every waiting caller gets a retryable refusal.
//!
//! **Invariant:** no answer and no event leaves before everything it rests on is committed. Answers without changes
//! (reads, duplicates, refusals) therefore wait for the entries that were in flight when they were computed.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tracing::Span;

use crate::clock::Clock;
use crate::command::{Answer, Command};
use crate::event::Outbound;
use crate::ids::TwinId;
use crate::numbers::{Floor, WallTime};
use crate::refusal::Refusal;
use crate::rows::RowKind;
use crate::twin::{StepContext, Twin};

/// Called once with what became of a commit or of a read's confirmation.
pub type Done = Box<dyn FnOnce(Result<(), Refusal>) + Send>;

/// Called once with the answer to a command.
pub type Answerer = Box<dyn FnOnce(Result<Answer, Refusal>) + Send>;

/// What a command changed: the after-images of a twin's rows, to be committed together.
#[derive(Debug)]
pub struct Change {
    /// Whose.
    pub twin: TwinId,
    /// After-images; `None`: the row is gone.
    pub rows: Vec<(RowKind, Option<Vec<u8>>)>,
    /// To be told once it is committed.
    pub events: Vec<Outbound>,
    /// On a delete: what the home slot's floor must be raised to, in the same commit.
    pub delete_floor: Option<Floor>,
}

/// What a grain needs of the cell that owns it.
pub trait Owner: Send + Sync + 'static {
    /// Reads the committed rows. Called once per activation, after the barrier of the owner's term is applied.
    fn load(&self, twin: &TwinId) -> impl Future<Output = Result<Twin, Refusal>> + Send;

    /// Everything of an id that is created now starts above this.
    fn floor(&self, twin: &TwinId) -> Floor;

    /// Commits a change, in the order of the calls. `done` gets `Ok` after it is applied.
    fn commit(&self, change: Change, done: Done);

    /// Confirms that this owner still owned the twin after the call. With `rests_on_in_flight`, also that everything given
    /// to [`Owner::commit`] before is applied; without it, the grain has nothing in flight.
    fn confirm(&self, rests_on_in_flight: bool, done: Done);

    /// The grain could not be loaded and takes no more messages.
    fn failed(&self, twin: &TwinId, refusal: &Refusal);
}

/// The way back to whoever asked. If it is dropped unanswered (the grain was thrown away) the asker gets
/// [`Refusal::Unavailable`]: nobody waits forever.
pub struct ReplyTo<G> {
    answer: Option<Answerer>,
    // Released after the answer: the budget that admitted the command.
    _admitted: G,
}

impl<G> ReplyTo<G> {
    /// Wraps the callback and the admission that is released with the answer.
    pub fn new(answer: Answerer, admitted: G) -> Self {
        Self { answer: Some(answer), _admitted: admitted }
    }

    /// Answers.
    pub fn send(mut self, answer: Result<Answer, Refusal>) {
        if let Some(callback) = self.answer.take() {
            callback(answer);
        }
    }
}

impl<G> Drop for ReplyTo<G> {
    fn drop(&mut self) {
        if let Some(callback) = self.answer.take() {
            callback(Err(Refusal::Unavailable {
                message: "the twin's owner changed while the command waited".into(),
                retry_after_ms: 100,
            }));
        }
    }
}

/// A message to a grain.
pub struct Ask<G> {
    /// What to do.
    pub command: Command,
    /// Where the answer goes.
    pub reply: ReplyTo<G>,
    /// Parent of the grain's and the commit's spans, where the command is traced; otherwise [`Span::none`], which costs
    /// nothing.
    pub span: Span,
}

/// The actor's behaviour; its twin lives in [`GrainState`].
pub struct Grain<O, G> {
    twin: TwinId,
    owner: Arc<O>,
    clock: Arc<dyn Clock>,
    _admission: std::marker::PhantomData<fn() -> G>,
}

impl<O: Owner, G: Send + 'static> Grain<O, G> {
    /// A grain for `twin`, owned by `owner`. Spawn it unnamed.
    pub fn new(twin: TwinId, owner: Arc<O>, clock: Arc<dyn Clock>) -> Self {
        Self { twin, owner, clock, _admission: std::marker::PhantomData }
    }
}

impl<O: Owner, G> Grain<O, G> {
    /// Method calls that were open when the twin was last active: nobody waits for them here, nothing sends them again, and
    /// left open they would use up the twin's share of open calls.
    fn close_stale_calls(&self, twin: &mut Twin) {
        let stale: Vec<_> = twin.stale_calls().iter().map(|open| open.call).collect();
        for call in stale {
            let context = StepContext { now: self.clock.wall(), floor: self.owner.floor(&self.twin) };
            let step = twin.step(Command::CloseCall { call }, context);
            let rows = twin.encode(step.changed);
            let change = Change { twin: self.twin.clone(), rows, events: step.events, delete_floor: None };
            // If this is not committed the grain is thrown away, and the next one closes them.
            self.owner.commit(change, Box::new(|_| ()));
        }
    }
}

/// What an active grain holds.
#[derive(Default)]
pub struct GrainState {
    /// `None` until the first message loads it.
    twin: Option<Twin>,
    last_activity: WallTime,
    /// Changes given to the owner and not yet applied.
    in_flight: Arc<AtomicUsize>,
}

impl<O: Owner, G: Send + 'static> Actor for Grain<O, G> {
    type Msg = Ask<G>;
    type State = GrainState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<GrainState, ActorProcessingErr> {
        Ok(GrainState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        ask: Ask<G>,
        state: &mut GrainState,
    ) -> Result<(), ActorProcessingErr> {
        let twin = match &mut state.twin {
            Some(twin) => twin,
            empty => match self.owner.load(&self.twin).await {
                Ok(twin) => {
                    let twin = empty.insert(twin);
                    self.close_stale_calls(twin);
                    twin
                }
                Err(refusal) => {
                    self.owner.failed(&self.twin, &refusal);
                    ask.reply.send(Err(refusal));
                    // What waits behind is answered `Unavailable` as the mailbox is dropped.
                    myself.stop(None);
                    return Ok(());
                }
            },
        };

        let span = child_of(&ask.span, || tracing::info_span!(parent: &ask.span, "grain", twin = %self.twin));
        let _inside = span.enter();
        let now = self.clock.wall();
        if is_activity(&ask.command) {
            state.last_activity = now;
        }
        let step = twin.step(ask.command, StepContext { now, floor: self.owner.floor(&self.twin) });
        let mut answer = step.answer;
        if let Ok(Answer::Document { document, .. }) = &mut answer {
            document.last_activity = document.last_activity.max(state.last_activity);
        }
        let reply = ask.reply;
        if step.changed.is_empty() {
            let rests_on_in_flight = state.in_flight.load(Ordering::Acquire) > 0;
            self.owner.confirm(rests_on_in_flight, Box::new(move |confirmed| reply.send(confirmed.and(answer))));
        } else {
            let in_flight = state.in_flight.clone();
            in_flight.fetch_add(1, Ordering::Relaxed);
            // Open until the answer.
            let commit =
                child_of(&span, || tracing::info_span!(parent: &span, "commit", rows = step.changed.iter().count()));
            let done: Done = Box::new(move |committed| {
                let _commit = commit;
                in_flight.fetch_sub(1, Ordering::Release);
                reply.send(committed.and(answer));
            });
            let rows = twin.encode(step.changed);
            self.owner.commit(
                Change { twin: self.twin.clone(), rows, events: step.events, delete_floor: step.delete_floor },
                done,
            );
        }
        Ok(())
    }
}

fn child_of(parent: &Span, make: impl FnOnce() -> Span) -> Span {
    if parent.is_none() { Span::none() } else { make() }
}

/// Does the command show that the device is alive?
fn is_activity(command: &Command) -> bool {
    matches!(command, Command::Attach { .. } | Command::State { .. } | Command::Event { .. })
}
