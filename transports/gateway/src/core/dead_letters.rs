//! What the gateway's owner does with dead letters: looks at them, replays them, discards them.
//!
//! A replay is a new message: it gets the next number of the device's present stay, so the node takes it for what the device says
//! now. **At most once**: the letter is removed in the commit that the new message is in, and the message is not sent before that is
//! durable. So after a crash there is either the letter and no message, or the message and no letter.

use std::sync::Arc;
use std::time::Duration;

use twin_core::command::StateBody;

use crate::core::admission::AppendError;
use crate::core::append::{Appended, Drafts};
use crate::core::refusals::LOST_EVENT;
use crate::core::{Core, lane_of};
use crate::outbox::body::Body;
use crate::outbox::dead_letters::{DeadLetter, DeadLetterId};
use crate::outbox::format::{Class, encode_record};
use crate::outbox::queue::Write;
use crate::stay::Link;

/// Why what an earlier boot stamped is set aside when the outbox gets a new identity.
pub(crate) const ROLLED_BACK: &str = "the outbox was rolled back or copied, or a second process speaks with this gateway's credentials: this was \
                                      stamped by an earlier boot and may be older than what the twin holds; the outbox goes on under a \
                                      new identity";
/// How what earlier releases said instead begins, too.
const ROLLED_BACK_BEGINS: &str = "the outbox was rolled back or copied";

/// What a replay of a dead letter can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// The node may take it now: what it was refused for can have passed.
    Open,
    /// Likewise, but the device has said, or may have said, other things since: a replay would put what it says now in the place of
    /// what came later. [`crate::Gateway::replay_dead_letters`] leaves it; its owner can replay it by its id.
    Outdated,
    /// None: it would be refused again, or there is nothing to send. Why.
    None(&'static str),
}

/// A dead letter, and what a replay could do.
#[derive(Clone, Debug)]
pub struct ListedDeadLetter {
    /// Which.
    pub id: DeadLetterId,
    /// What was refused, and why.
    pub letter: Arc<DeadLetter>,
    /// What a replay can do.
    pub outlook: Outlook,
}

/// Some of the dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetterPage {
    /// Oldest first.
    pub letters: Vec<ListedDeadLetter>,
    /// Are there more, after the last of these?
    pub more: bool,
    /// How many were dropped for room, ever.
    pub dropped: u64,
}

/// Why a dead letter was not replayed. It is still there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayed {
    /// No such letter: it was replayed, discarded or dropped for room, or never there.
    #[error("there is no dead letter {id}; list them to see which there are")]
    NotFound {
        /// Asked for.
        id: DeadLetterId,
    },
    /// A replay cannot help.
    #[error("dead letter {id} of {twin} ({code}) cannot be replayed: {why}; discard it, and report what is right")]
    Useless {
        /// Which.
        id: DeadLetterId,
        /// Of which device.
        twin: String,
        /// Why it was refused.
        code: String,
        /// Why a replay would be, too.
        why: &'static str,
    },
    /// The device is with another gateway.
    #[error(
        "dead letter {id} is of {twin}, which another gateway serves now: replay it when the device was heard here again, or discard it"
    )]
    Elsewhere {
        /// Which.
        id: DeadLetterId,
        /// Of which device.
        twin: String,
    },
    /// The outbox does not take the message.
    #[error(transparent)]
    Append(#[from] AppendError),
}

fn outlook_of_content(letter: &DeadLetter) -> Option<&'static str> {
    match &letter.body {
        None => return Some("what it said could not be read any more"),
        Some(Body::State(StateBody::Lost) | Body::Alarm(None)) => return Some("it says only that numbers are lost"),
        Some(Body::Event(name, _)) if name == LOST_EVENT => return Some("it says only that an event is lost"),
        Some(_) => {}
    }
    match letter.code.as_str() {
        "document-rule" => Some("its content breaks a rule of documents, and would again"),
        "too-large" => Some("it is too large, or makes its document so, and would again"),
        "invalid" if !letter.message.starts_with(ROLLED_BACK_BEGINS) => {
            Some("the node cannot make sense of it, and would not again")
        }
        _ => None,
    }
}

impl Core {
    fn outlook(&self, letter: &DeadLetter) -> Outlook {
        if let Some(why) = outlook_of_content(letter) {
            return Outlook::None(why);
        }
        // Events and alarms stand beside each other; state replaces state.
        let outdated = letter.class == Class::State
            && self.twin(&letter.twin).is_some_and(|twin| twin.stays.stamped_after(letter.stay, letter.last));
        if outdated { Outlook::Outdated } else { Outlook::Open }
    }

    /// Those after this one, at most so many.
    pub(crate) fn dead_letter_page(&self, after: Option<DeadLetterId>, at_most: usize) -> DeadLetterPage {
        let mut letters: Vec<ListedDeadLetter> = self
            .dead
            .after(after, at_most.saturating_add(1))
            .map(|(id, letter)| ListedDeadLetter { id, letter: Arc::clone(letter), outlook: self.outlook(letter) })
            .collect();
        let more = letters.len() > at_most;
        letters.truncate(at_most);
        DeadLetterPage { letters, more, dropped: self.dead.dropped() }
    }

    /// Appends what the letter says anew, and removes the letter, in one commit.
    pub(crate) fn replay(&mut self, id: DeadLetterId, now: Duration) -> Result<Appended, NotReplayed> {
        let letter = Arc::clone(self.dead.get(id).ok_or(NotReplayed::NotFound { id })?);
        let twin_name = || letter.twin.to_string();
        let body = match (outlook_of_content(&letter), &letter.body) {
            (None, Some(body)) => body,
            (why, _) => {
                let why = why.unwrap_or_default();
                return Err(NotReplayed::Useless { id, twin: twin_name(), code: letter.code.clone(), why });
            }
        };
        let state = letter.class == Class::State;
        let of_stay = letter.class != Class::Event;
        let twin = self.twin(&letter.twin);
        if of_stay && twin.is_some_and(|twin| twin.stays.link() == Link::Conflict) {
            // An append says that the device was heard here, which would claim it.
            return Err(NotReplayed::Elsewhere { id, twin: twin_name() });
        }
        let serving = twin.is_some_and(|twin| twin.serving);
        // It is not sent before it is durable, so no ack can spare its write.
        self.no_write(!state).map_or(Ok(()), Err)?;
        let drafts = Drafts::one(letter.twin.clone(), body, &self.dictionary);
        let appended = self.append(drafts, now).map_err(|(error, _)| error)?;
        self.dead.remove(id);
        let write = self.unbury(vec![id.0]);
        for stamped in &appended.stamped {
            let lane = &mut self.twins[stamped.twin as usize].lanes[lane_of(stamped.class)];
            if let Some(last) = lane.last_unsent_mut() {
                last.hold = write;
            }
        }
        if of_stay && !serving {
            // It was not heard: what is replayed goes, and that is all.
            self.detach(&letter.twin, now);
        }
        self.counters.replayed += 1;
        Ok(appended)
    }

    /// Removes these letters; the number of the write that makes it durable, and how many there were.
    pub(crate) fn discard(&mut self, ids: &[DeadLetterId]) -> (u64, u64) {
        let there: Vec<u64> = ids.iter().filter(|id| self.dead.remove(**id)).map(|id| id.0).collect();
        let discarded = there.len() as u64;
        let write = if there.is_empty() { self.writes.durable() } else { self.unbury(there) };
        (write, discarded)
    }

    fn unbury(&mut self, keys: Vec<u64>) -> u64 {
        self.wakes.writer = true;
        // Their keys are not given out again, also if these were the last.
        self.writes.push(Write::DeadLetters { row: encode_record(&self.dead.count()) });
        self.writes.push(Write::Unbury { keys })
    }
}
