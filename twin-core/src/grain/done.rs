//! What happens once it is known what became of a commit, or of a read's confirmation.

use smallvec::SmallVec;
use tracing::Span;

use super::reply::Reply;
use crate::command::Answer;
use crate::refusal::Refusal;

/// Told once what became of a commit, or of a read's confirmation. If it is dropped, whoever waits behind it is told that
/// too.
pub struct Done<A>(DoneKind<A>);

enum DoneKind<A> {
    Call(Box<dyn FnOnce(Result<(), Refusal>) + Send>),
    Answer(Ready<A>),
}

/// An answer that is ready, and to whom it goes.
pub(super) struct Settled {
    pub(super) reply: Reply,
    pub(super) answer: Result<Answer, Refusal>,
}

/// Answers that are ready, and wait for what they rest on.
pub(super) struct Ready<A> {
    pub(super) answers: SmallVec<[Settled; 1]>,
    /// Open until the answers.
    pub(super) spans: Vec<Span>,
    /// Released with the answers: what each command was admitted with, or what all of them were.
    pub(super) admissions: SmallVec<[A; 1]>,
}

impl<A> Done<A> {
    /// Calls back once.
    pub fn call(callback: impl FnOnce(Result<(), Refusal>) + Send + 'static) -> Self {
        Self(DoneKind::Call(Box::new(callback)))
    }

    pub(super) fn answer(ready: Ready<A>) -> Self {
        Self(DoneKind::Answer(ready))
    }

    /// Tells.
    pub fn tell(self, result: Result<(), Refusal>) {
        match self.0 {
            DoneKind::Call(callback) => callback(result),
            DoneKind::Answer(Ready { answers, spans, admissions }) => {
                // Before the answers: whoever has all its answers finds everything given back, and ends its own span later.
                drop(admissions);
                drop(spans);
                for Settled { reply, answer } in answers {
                    reply.send(match &result {
                        Ok(()) => answer,
                        Err(refusal) => Err(refusal.clone()),
                    });
                }
            }
        }
    }
}
