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
use crate::rows::RowImages;
use crate::twin::{StepContext, Twin};

/// Where answers to commands go, each under a number. Called from any thread; must not block.
pub trait Answers: Send + Sync + 'static {
    /// The answer to one of them; called exactly once for each.
    fn answer(&self, index: u32, answer: Result<Answer, Refusal>);
}

/// The way back to whoever asked. If it is dropped unanswered (the grain was thrown away) the asker gets
/// [`Refusal::Unavailable`]: nobody waits forever.
pub struct Reply(Option<ReplyTo>);

enum ReplyTo {
    /// A command by itself.
    Once(Box<dyn FnOnce(Result<Answer, Refusal>) + Send>),
    /// One of a batch, whose answers come together in one place.
    Shared(Arc<dyn Answers>, u32),
}

impl Reply {
    /// Calls back once.
    pub fn once(callback: impl FnOnce(Result<Answer, Refusal>) + Send + 'static) -> Self {
        Self(Some(ReplyTo::Once(Box::new(callback))))
    }

    /// One of a batch; allocates nothing.
    pub fn shared(answers: Arc<dyn Answers>, index: u32) -> Self {
        Self(Some(ReplyTo::Shared(answers, index)))
    }

    /// Answers.
    pub fn send(mut self, answer: Result<Answer, Refusal>) {
        self.tell(answer);
    }

    fn tell(&mut self, answer: Result<Answer, Refusal>) {
        match self.0.take() {
            Some(ReplyTo::Once(callback)) => callback(answer),
            Some(ReplyTo::Shared(answers, index)) => answers.answer(index, answer),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.0.is_some() {
            self.tell(Err(Refusal::Unavailable {
                message: "the twin's owner changed while the command waited".into(),
                retry_after_ms: 100,
            }));
        }
    }
}

/// Told once what became of a commit, or of a read's confirmation. If it is dropped, whoever waits behind it is told that
/// too.
pub struct Done<A>(DoneKind<A>);

enum DoneKind<A> {
    Call(Box<dyn FnOnce(Result<(), Refusal>) + Send>),
    Answer(Waiting<A>),
}

/// An answer that is ready, and waits for what it rests on.
struct Waiting<A> {
    reply: Reply,
    answer: Result<Answer, Refusal>,
    /// One less, once it is applied.
    in_flight: Option<Arc<AtomicUsize>>,
    /// Open until the answer.
    _commit: Span,
    /// Released with the answer.
    admission: A,
}

impl<A> Done<A> {
    /// Calls back once.
    pub fn call(callback: impl FnOnce(Result<(), Refusal>) + Send + 'static) -> Self {
        Self(DoneKind::Call(Box::new(callback)))
    }

    /// Tells.
    pub fn tell(self, result: Result<(), Refusal>) {
        match self.0 {
            DoneKind::Call(callback) => callback(result),
            DoneKind::Answer(waiting) => {
                let Waiting { reply, answer, in_flight, _commit: commit, admission } = waiting;
                if let Some(in_flight) = in_flight {
                    in_flight.fetch_sub(1, Ordering::Release);
                }
                // Before the answer: whoever has all its answers finds everything given back.
                drop(admission);
                reply.send(result.and(answer));
                drop(commit);
            }
        }
    }
}

/// What a command changed: the after-images of a twin's rows, to be committed together.
#[derive(Debug)]
pub struct Change {
    /// Whose.
    pub twin: TwinId,
    /// After-images; `None`: the row is gone.
    pub rows: RowImages,
    /// To be told once it is committed.
    pub events: Vec<Outbound>,
    /// On a delete: what the home slot's floor must be raised to, in the same commit.
    pub delete_floor: Option<Floor>,
}

/// What a grain needs of the cell that owns it.
pub trait Owner: Send + Sync + 'static {
    /// What a command holds from its admission to its answer.
    type Admission: Send + 'static;

    /// Reads the committed rows. Called once per activation, after the barrier of the owner's term is applied.
    fn load(&self, twin: &TwinId) -> impl Future<Output = Result<Twin, Refusal>> + Send;

    /// Everything of an id that is created now starts above this.
    fn floor(&self, twin: &TwinId) -> Floor;

    /// Does anybody hear of what devices report?
    fn observed(&self) -> bool;

    /// Commits a change, in the order of the calls. `done` gets `Ok` after it is applied.
    fn commit(&self, change: Change, done: Done<Self::Admission>);

    /// Confirms that this owner still owned the twin after the call. With `rests_on_in_flight`, also that everything given
    /// to [`Owner::commit`] before is applied; without it, the grain has nothing in flight.
    fn confirm(&self, rests_on_in_flight: bool, done: Done<Self::Admission>);

    /// The grain could not be loaded and takes no more messages.
    fn failed(&self, twin: &TwinId, refusal: &Refusal);
}

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

/// The actor's behaviour; its twin lives in [`GrainState`].
pub struct Grain<O> {
    twin: TwinId,
    owner: Arc<O>,
    clock: Arc<dyn Clock>,
}

impl<O: Owner> Grain<O> {
    /// A grain for `twin`, owned by `owner`. Spawn it unnamed.
    pub fn new(twin: TwinId, owner: Arc<O>, clock: Arc<dyn Clock>) -> Self {
        Self { twin, owner, clock }
    }

    fn context(&self, command: &Command) -> StepContext {
        // Only a life that begins or ends asks for the floor, and all twins share its lock.
        let may_begin_or_end = matches!(command, Command::Put { .. } | Command::Delete { .. } | Command::Attach { .. });
        StepContext {
            now: self.clock.wall(),
            floor: if may_begin_or_end { self.owner.floor(&self.twin) } else { Floor::default() },
            observed: self.owner.observed(),
        }
    }

    /// Method calls that were open when the twin was last active: nobody waits for them here, nothing sends them again, and
    /// left open they would use up the twin's share of open calls.
    fn close_stale_calls(&self, twin: &mut Twin) {
        let stale: Vec<_> = twin.stale_calls().iter().map(|open| open.call).collect();
        for call in stale {
            let command = Command::CloseCall { call };
            let context = self.context(&command);
            let step = twin.step(command, context);
            let rows = twin.encode(step.changed);
            let change = Change { twin: self.twin.clone(), rows, events: step.events, delete_floor: None };
            // If this is not committed the grain is thrown away, and the next one closes them.
            self.owner.commit(change, Done::call(|_| ()));
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

impl<O: Owner> Actor for Grain<O> {
    type Msg = Ask<O::Admission>;
    type State = GrainState;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<GrainState, ActorProcessingErr> {
        Ok(GrainState::default())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        ask: Self::Msg,
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
        let context = self.context(&ask.command);
        if is_activity(&ask.command) {
            state.last_activity = context.now;
        }
        let step = twin.step(ask.command, context);
        let mut answer = step.answer;
        if let Ok(answer) = &mut answer {
            answer.heard(state.last_activity);
        }
        let waiting = |in_flight, commit| {
            let (reply, admission) = (ask.reply, ask.admission);
            Done(DoneKind::Answer(Waiting { reply, answer, in_flight, _commit: commit, admission }))
        };
        if step.changed.is_empty() {
            let rests_on_in_flight = state.in_flight.load(Ordering::Acquire) > 0;
            self.owner.confirm(rests_on_in_flight, waiting(None, Span::none()));
        } else {
            state.in_flight.fetch_add(1, Ordering::Relaxed);
            let commit =
                child_of(&span, || tracing::info_span!(parent: &span, "commit", rows = step.changed.iter().count()));
            let rows = twin.encode(step.changed);
            self.owner.commit(
                Change { twin: self.twin.clone(), rows, events: step.events, delete_floor: step.delete_floor },
                waiting(Some(state.in_flight.clone()), commit),
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
    matches!(command, Command::Attach { .. } | Command::State { .. } | Command::Report { .. } | Command::Event { .. })
}
