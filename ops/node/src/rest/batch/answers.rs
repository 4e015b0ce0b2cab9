//! Where the core leaves the answers of a batch, from whichever thread has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use twin_core::command::Answer;
use twin_core::refusal::Refusal;

use super::pace::Turn;

/// An answer and whose it is.
pub(super) type Answered = (u64, Result<Answer, Refusal>);

/// The answers that the batch has not looked at yet: at most as many as its window has items.
#[derive(Debug, Default)]
pub(super) struct Answers {
    queue: Mutex<Vec<Answered>>,
    /// An answer says that the next command would not fare better at the moment.
    pressure: AtomicBool,
    some: Notify,
}

impl Answers {
    /// Whether an answer told of pressure since this was last asked.
    pub(super) fn take_pressure(&self) -> bool {
        self.pressure.load(Ordering::Relaxed) && self.pressure.swap(false, Ordering::Relaxed)
    }

    /// Takes what is there; `into` is empty.
    pub(super) fn take(&self, into: &mut Vec<Answered>) {
        std::mem::swap(&mut *self.queue.lock(), into);
    }

    /// Resolves when there may be answers.
    pub(super) async fn some(&self) {
        self.some.notified().await;
    }

    fn put(&self, answered: &mut Vec<Answered>) {
        let was_empty = {
            let mut queue = self.queue.lock();
            let was_empty = queue.is_empty();
            queue.append(answered);
            was_empty
        };
        // One wake-up for many answers: whoever takes them takes all.
        if was_empty {
            self.some.notify_one();
        }
    }
}

/// Items that are given to the core together. Their answers come to the batch together: to look at each on its own would cost more
/// than the item.
#[derive(Debug)]
pub(super) struct Chunk {
    items: Vec<u64>,
    open: AtomicUsize,
    gathered: Mutex<(Vec<Answered>, Option<Turn>)>,
    answers: Arc<Answers>,
}

impl Chunk {
    /// Each of these items is answered once, under its place.
    pub(super) fn new(items: Vec<u64>, turn: Turn, answers: &Arc<Answers>) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(items.len()),
            gathered: Mutex::new((Vec::with_capacity(items.len()), Some(turn))),
            items,
            answers: Arc::clone(answers),
        })
    }
}

impl twin_core::grain::Answers for Chunk {
    fn answer(&self, index: u32, answer: Result<Answer, Refusal>) {
        let Some(item) = self.items.get(index as usize).copied() else { return };
        if matches!(&answer, Err(Refusal::Busy { .. } | Refusal::Unavailable { .. })) {
            // At once: what comes behind it in the batch is held back.
            self.answers.pressure.store(true, Ordering::Relaxed);
            self.answers.put(&mut vec![(item, answer)]);
        } else {
            self.gathered.lock().0.push((item, answer));
        }
        // AcqRel: whoever brings it to zero sees what all others gathered.
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            let (mut gathered, turn) = std::mem::take(&mut *self.gathered.lock());
            // Before the batch looks for its next turn.
            drop(turn);
            self.answers.put(&mut gathered);
        }
    }
}
