//! One place where the answers to many commands come together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use twin_core::command::Answer;
use twin_core::grain::{Answers, Reply};
use twin_core::refusal::Refusal;

/// What is done with the answers. Called from any thread; must not block.
pub(super) trait Gather: Send + Sync + 'static {
    /// The answer to command `index`.
    fn settle(&self, index: usize, result: Result<Answer, Refusal>);
    /// All are settled; called once, after the last `settle`.
    fn finish(&self);
}

/// Counts the commands that are still open; one allocation for a whole batch.
pub(super) struct Collector<G: Gather> {
    gather: G,
    open: AtomicUsize,
}

impl<G: Gather> Collector<G> {
    /// Open until [`Collector::seal`], so that answers which come at once do not finish it too early.
    pub(super) fn new(gather: G) -> Arc<Self> {
        Arc::new(Self { gather, open: AtomicUsize::new(1) })
    }

    /// A reply for one more command.
    pub(super) fn reply(self: &Arc<Self>, index: usize) -> Reply {
        self.open.fetch_add(1, Ordering::Relaxed);
        Reply::shared(self.clone(), index as u32)
    }

    /// Settles a command that is not submitted at all.
    pub(super) fn settle_now(&self, index: usize, result: Result<Answer, Refusal>) {
        self.gather.settle(index, result);
    }

    /// No more commands.
    pub(super) fn seal(&self) {
        self.close_one();
    }

    fn close_one(&self) {
        // AcqRel: whoever brings it to zero sees what all others settled.
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.gather.finish();
        }
    }
}

/// **Invariant:** every command is settled exactly once, also when its reply is dropped unanswered (a grain that died; see
/// [`Reply`]): a batch without an ack would block its stream for ever.
impl<G: Gather> Answers for Collector<G> {
    fn answer(&self, index: u32, answer: Result<Answer, Refusal>) {
        self.gather.settle(index as usize, answer);
        self.close_one();
    }
}
