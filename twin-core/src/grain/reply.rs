//! The way back to whoever asked.

use std::sync::Arc;

use crate::command::Answer;
use crate::refusal::Refusal;

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
