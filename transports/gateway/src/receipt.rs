//! What the application gets for a message that is durable here: the way to learn that it is durable there.

use std::sync::Arc;

use tokio::sync::oneshot;
use twin_core::numbers::{Seq, Stay};
use twin_core::refusal::Refusal;

use crate::core::TwinIndex;
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
            let (sender, receiver) = oneshot::channel();
            twin.wait(self.class, self.stay, self.number, sender);
            receiver
        };
        tokio::select! {
            fate = receiver => fate.unwrap_or(Err(NotAcked::ShutDown)),
            () = self.shared.stop.cancelled() => Err(NotAcked::ShutDown),
        }
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

impl std::fmt::Debug for Receipt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receipt").field("stay", &self.stay).field("number", &self.number).finish_non_exhaustive()
    }
}
