//! What the application gets for a message that is durable: the way to learn that the node has committed it.

use std::sync::Arc;

use twin_core::numbers::{Seq, Stay};
use twin_core::refusal::Refusal;

use crate::core::TwinIndex;
use crate::core::append::Stamped;
use crate::outbox::format::Class;
use crate::shared::Shared;

/// A message in the outbox. Costs nothing unless it is asked.
#[derive(Clone)]
pub struct Receipt {
    pub(crate) shared: Arc<Shared>,
    pub(crate) twin: TwinIndex,
    pub(crate) class: Class,
    pub(crate) stay: Stay,
    pub(crate) number: Seq,
}

/// Why a message will not be acked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAcked {
    /// Refused for good; it is among the dead letters.
    #[error("refused for good: {0}")]
    Refused(Arc<Refusal>),
    /// It was settled so long ago, and so much was refused since, that it is no more known how. Look into the dead letters.
    #[error("settled too long ago to know whether it was acked or refused; look into the dead letters")]
    Forgotten,
    /// The gateway was shut down first. The message is in the outbox and goes on when it is opened again.
    #[error("the gateway was shut down before the ack; the message stays in the outbox")]
    ShutDown,
}

impl Receipt {
    /// Waits until the node has committed it (or a later report that it was merged into), or refused it for good.
    pub async fn acked(&self) -> Result<(), NotAcked> {
        let receiver = {
            let mut core = self.shared.core.lock();
            let twin = core.twin_mut(self.twin);
            if let Some(fate) = twin.fate(self.class, self.stay, self.number) {
                return fate;
            }
            twin.promise(self.class, self.stay, self.number)
        };
        self.shared.told(receiver).await
    }

    /// What became of it so far; `None`: it is still in the outbox.
    pub fn fate(&self) -> Option<Result<(), NotAcked>> {
        self.shared.core.lock().twin_mut(self.twin).fate(self.class, self.stay, self.number)
    }

    /// The stay that stamped it.
    pub fn stay(&self) -> Stay {
        self.stay
    }

    /// Its number in the stay.
    pub fn number(&self) -> Seq {
        self.number
    }
}

/// Many messages in the outbox, as one.
#[derive(Clone)]
pub struct Receipts {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stamped: Vec<Stamped>,
}

impl Receipts {
    /// Waits until the node has committed all of them, as [`Receipt::acked`]; or says why one will not be, by the first such.
    pub async fn acked(&self) -> Result<(), NotAcked> {
        let mut settled = 0;
        loop {
            // One wait for what is often all of them: batches are acked whole.
            let receiver = {
                let mut core = self.shared.core.lock();
                loop {
                    let Some(next) = self.stamped.get(settled) else { return Ok(()) };
                    let twin = core.twin_mut(next.twin);
                    match twin.fate(next.class, next.stay, next.number) {
                        Some(fate) => fate?,
                        None => break twin.promise(next.class, next.stay, next.number),
                    }
                    settled += 1;
                }
            };
            self.shared.told(receiver).await?;
            settled += 1;
        }
    }

    /// How many messages.
    pub fn len(&self) -> usize {
        self.stamped.len()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.stamped.is_empty()
    }
}

impl IntoIterator for Receipts {
    type Item = Receipt;
    type IntoIter = std::vec::IntoIter<Receipt>;

    /// One for each message, in the order of the reports.
    fn into_iter(self) -> Self::IntoIter {
        let receipt = |stamped: Stamped| Receipt {
            shared: Arc::clone(&self.shared),
            twin: stamped.twin,
            class: stamped.class,
            stay: stamped.stay,
            number: stamped.number,
        };
        self.stamped.iter().copied().map(receipt).collect::<Vec<_>>().into_iter()
    }
}

impl std::fmt::Debug for Receipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipts").field("len", &self.stamped.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("stay", &self.stay).field("number", &self.number).finish_non_exhaustive()
    }
}
