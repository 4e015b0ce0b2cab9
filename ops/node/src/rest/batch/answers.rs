//! Where the core leaves the answers of a batch, from whichever thread has them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use twin_core::command::Answer;
use twin_core::refusal::Refusal;

/// An answer and whose it is.
pub(super) type Answered = (u64, Result<Answer, Refusal>);

/// The answers that the batch has not looked at yet: at most as many as its window has items.
#[derive(Debug, Default)]
pub(super) struct Answers {
    queue: Mutex<Vec<Answered>>,
    /// Commands given to the core and not yet answered.
    outstanding: AtomicUsize,
    /// An answer says that the next command would not fare better at the moment.
    pressure: AtomicBool,
    some: Notify,
    all: Notify,
}

impl Answers {
    /// A command is about to be given to the core: [`Answers::push`] will be called for it.
    pub(super) fn expect(&self) {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
    }

    /// A command's answer.
    pub(super) fn push(&self, item: u64, answer: Result<Answer, Refusal>) {
        if matches!(&answer, Err(Refusal::Busy { .. } | Refusal::Unavailable { .. })) {
            self.pressure.store(true, Ordering::Relaxed);
        }
        let is_first = {
            let mut queue = self.queue.lock();
            queue.push((item, answer));
            queue.len() == 1
        };
        // One wake-up for many answers: whoever takes them takes all.
        if is_first {
            self.some.notify_one();
        }
        if self.outstanding.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.all.notify_one();
        }
    }

    /// Whether an answer told of pressure since this was last asked.
    pub(super) fn take_pressure(&self) -> bool {
        self.pressure.load(Ordering::Relaxed) && self.pressure.swap(false, Ordering::Relaxed)
    }

    /// Takes what is there; `into` is empty.
    pub(super) fn take(&self, into: &mut Vec<Answered>) {
        std::mem::swap(&mut *self.queue.lock(), into);
    }

    /// Commands that are not answered yet.
    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// Resolves when there may be answers.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    /// Resolves when everything may be answered.
    pub(super) async fn all(&self) {
        self.all.notified().await;
    }
}
