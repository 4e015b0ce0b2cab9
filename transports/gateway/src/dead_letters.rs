//! The dead letters, as the gateway's owner handles them.

use std::sync::Arc;

use crate::core::dead_letters::{DeadLetterPage, NotReplayed, Outlook};
use crate::error::ReportError;
use crate::gateway::Gateway;
use crate::limits::{DEAD_LETTERS_MAX, DEAD_LETTERS_PAGE_MAX};
use crate::outbox::dead_letters::DeadLetterId;
use crate::receipt::{Receipt, Receipts};

/// Why a dead letter was not replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It is still there.
    #[error(transparent)]
    NotReplayed(#[from] NotReplayed),
    /// The disk failed: it is unknown whether the letter is still there or the message in its stead.
    #[error(transparent)]
    Disk(ReportError),
}

/// What became of all dead letters.
#[derive(Debug)]
pub struct Replayed {
    /// Those that were replayed.
    pub receipts: Receipts,
    /// Those that were left, as the device has said other things since.
    pub outdated: u64,
    /// Those that were left, as a replay cannot help, or the device is with another gateway.
    pub useless: u64,
    /// Why the rest was left, if some was: the outbox took no more.
    pub stopped: Option<NotReplayed>,
}

impl Gateway {
    /// Dead letters after this one, oldest first: at most so many, and no more than [`DEAD_LETTERS_PAGE_MAX`].
    ///
    /// At most [`DEAD_LETTERS_MAX`] are kept, and of so many bytes ([`crate::limits::DEAD_LETTERS_BYTES_MAX`]); beyond, the oldest go and
    /// are counted.
    pub fn dead_letter_page(&self, after: Option<DeadLetterId>, at_most: usize) -> DeadLetterPage {
        self.shared().core.lock().dead_letter_page(after, at_most.min(DEAD_LETTERS_PAGE_MAX))
    }

    /// Says again what a dead letter said: as a new message, with the next number of the device's present stay. The letter is gone
    /// when this returns, also if what it said is refused again: then there is a new one. A crash does not double it.
    ///
    /// State that is replayed replaces what the device said since ([`Outlook::Outdated`]). If the gateway does not serve the device, it is
    /// attached for just that, unless another gateway has attached it since.
    pub async fn replay_dead_letter(&self, id: DeadLetterId) -> Result<Receipt, ReplayError> {
        let appended = self.shared().with(|core, now| core.replay(id, now))?;
        appended.promises.wait().await.map_err(not_durable)?;
        let receipts = Receipts { shared: Arc::clone(self.shared()), stamped: appended.stamped };
        // One letter is one message.
        receipts.into_iter().next().ok_or(NotReplayed::NotFound { id }.into())
    }

    /// Replays all dead letters whose outlook is [`Outlook::Open`], oldest first; see [`Gateway::replay_dead_letter`]. What is
    /// refused anew meanwhile waits for the next time.
    pub async fn replay_dead_letters(&self) -> Result<Replayed, ReplayError> {
        let (mut stamped, mut promises) = (Vec::new(), Vec::new());
        let (mut outdated, mut useless, mut stopped) = (0, 0, None);
        let all = self.shared().core.lock().dead_letter_page(None, DEAD_LETTERS_MAX).letters;
        for listed in all {
            match listed.outlook {
                Outlook::Open => {}
                Outlook::Outdated => {
                    outdated += 1;
                    continue;
                }
                Outlook::None(_) => {
                    useless += 1;
                    continue;
                }
            }
            // One at a time: others report meanwhile.
            match self.shared().with(|core, now| core.replay(listed.id, now)) {
                Ok(appended) => {
                    stamped.extend(appended.stamped);
                    promises.push(appended.promises);
                }
                // Somebody else was quicker.
                Err(NotReplayed::NotFound { .. }) => {}
                Err(NotReplayed::Useless { .. } | NotReplayed::Elsewhere { .. }) => useless += 1,
                Err(error @ NotReplayed::Append(_)) => {
                    stopped = Some(error);
                    break;
                }
            }
        }
        for promises in promises {
            promises.wait().await.map_err(not_durable)?;
        }
        Ok(Replayed { receipts: Receipts { shared: Arc::clone(self.shared()), stamped }, outdated, useless, stopped })
    }

    /// Discards these dead letters; how many of them there were. They are gone for good when this returns.
    pub async fn discard_dead_letters(&self, ids: &[DeadLetterId]) -> Result<u64, ReportError> {
        let (write, discarded) = self.shared().with(|core, _| core.discard(ids));
        self.shared()
            .until(|core, _| if core.writes.durable() >= write { Some(Ok(discarded)) } else { core.failure().map(Err) })
            .await
    }
}

fn not_durable(message: Arc<str>) -> ReplayError {
    ReplayError::Disk(ReportError::NotDurable { message: message.to_string() })
}
