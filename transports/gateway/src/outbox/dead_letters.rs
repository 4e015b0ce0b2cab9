//! What was refused for good: kept for the gateway's owner, bounded, the oldest dropped and counted. What its owner does with it is
//! [`crate::core::dead_letters`]'s.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use twin_core::ids::TwinId;
use twin_core::numbers::{Seq, Stay};
use twin_core::record;

use crate::limits::{DEAD_LETTERS_BYTES_MAX, DEAD_LETTERS_MAX};
use crate::outbox::body::Body;
use crate::outbox::format::{Class, DeadLettersRow};

/// A dead letter of an outbox. Later ones are higher, and none is used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeadLetterId(pub(crate) u64);

impl DeadLetterId {
    /// Its number in the order in which letters came, from 1 on.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DeadLetterId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

record! {
    /// A message that the node will never take.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DeadLetter {
        /// Whose.
        pub twin: TwinId,
        /// State, event or alarm.
        pub class: Class,
        /// The stay that stamped it.
        pub stay: Stay,
        /// First number that it covered.
        pub first: Seq,
        /// Last number that it covered.
        pub last: Seq,
        /// Stable code of the refusal, see [`twin_core::refusal::Refusal::code`].
        pub code: String,
        /// The refusal, for people.
        pub message: String,
        /// What it said; `None` if its row could not be read.
        pub body: Option<Body>,
    }
}

/// The list, as it is in memory and, row by row, on disk.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    letters: VecDeque<(u64, usize, Arc<DeadLetter>)>,
    size_bytes: usize,
    dropped: u64,
    next_key: u64,
}

/// What must be written for a new dead letter.
#[derive(Debug, Default)]
pub(crate) struct Buried {
    pub(crate) key: u64,
    pub(crate) dropped_keys: Vec<u64>,
}

impl DeadLetters {
    /// As read from the file, which has given out all keys below `next_key`.
    pub(crate) fn load(dropped: u64, next_key: u64, rows: impl IntoIterator<Item = (u64, usize, DeadLetter)>) -> Self {
        let mut list = Self { dropped, next_key: next_key.max(1), ..Self::default() };
        for (key, size_bytes, letter) in rows {
            list.next_key = list.next_key.max(key + 1);
            list.size_bytes += size_bytes;
            list.letters.push_back((key, size_bytes, Arc::new(letter)));
        }
        list
    }

    /// Takes a letter of this encoded size, and drops the oldest for room.
    pub(crate) fn bury(&mut self, letter: DeadLetter, size_bytes: usize) -> Buried {
        let key = self.next_key.max(1);
        self.next_key = key + 1;
        self.size_bytes += size_bytes;
        self.letters.push_back((key, size_bytes, Arc::new(letter)));
        let mut dropped_keys = Vec::new();
        while self.letters.len() > DEAD_LETTERS_MAX
            || (self.size_bytes > DEAD_LETTERS_BYTES_MAX && self.letters.len() > 1)
        {
            let Some((key, size_bytes, _)) = self.letters.pop_front() else { break };
            self.size_bytes -= size_bytes;
            self.dropped += 1;
            dropped_keys.push(key);
        }
        // Told whenever they have become twice as many: one for each would bury the log, too.
        let dropped = self.dropped;
        let before = dropped - dropped_keys.len() as u64;
        if before.checked_ilog2() != dropped.checked_ilog2() {
            tracing::warn!(dropped, "there are too many dead letters: the oldest are dropped");
        }
        Buried { key, dropped_keys }
    }

    /// Those after this one, oldest first, at most so many.
    pub(crate) fn after(
        &self,
        after: Option<DeadLetterId>,
        at_most: usize,
    ) -> impl Iterator<Item = (DeadLetterId, &Arc<DeadLetter>)> {
        let from = after.map_or(0, |after| self.letters.partition_point(|(key, ..)| *key <= after.0));
        self.letters.range(from..).take(at_most).map(|(key, _, letter)| (DeadLetterId(*key), letter))
    }

    pub(crate) fn get(&self, id: DeadLetterId) -> Option<&Arc<DeadLetter>> {
        self.place(id).map(|place| &self.letters[place].2)
    }

    fn place(&self, id: DeadLetterId) -> Option<usize> {
        self.letters.binary_search_by_key(&id.0, |(key, ..)| *key).ok()
    }

    /// Takes a letter off the list; `false`: it is not there.
    pub(crate) fn remove(&mut self, id: DeadLetterId) -> bool {
        let Some((_, size_bytes, _)) = self.place(id).and_then(|place| self.letters.remove(place)) else {
            return false;
        };
        self.size_bytes -= size_bytes;
        true
    }

    /// What the file must know besides the letters.
    pub(crate) fn count(&self) -> DeadLettersRow {
        DeadLettersRow { dropped: self.dropped, next_key: self.next_key }
    }

    pub(crate) fn list(&self) -> Vec<Arc<DeadLetter>> {
        self.letters.iter().map(|(_, _, letter)| Arc::clone(letter)).collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many there ever were.
    pub(crate) fn ever(&self) -> u64 {
        self.next_key.max(1) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(n: u64) -> DeadLetter {
        DeadLetter {
            twin: TwinId::new("d").unwrap(),
            class: Class::State,
            stay: Stay::default(),
            first: Seq::new(n),
            last: Seq::new(n),
            code: "x".into(),
            message: String::new(),
            body: None,
        }
    }

    #[test]
    fn past_the_bound_the_oldest_goes_and_is_counted() {
        let mut list = DeadLetters::default();
        for n in 0..DEAD_LETTERS_MAX as u64 {
            assert!(list.bury(letter(n), 1).dropped_keys.is_empty());
        }
        assert_eq!(list.bury(letter(9999), 1).dropped_keys, [1]);
        assert_eq!((list.len(), list.dropped()), (DEAD_LETTERS_MAX, 1));
        assert_eq!(list.list()[0].first, Seq::new(1));
    }

    #[test]
    fn one_letter_larger_than_the_bound_is_kept() {
        let mut list = DeadLetters::default();
        list.bury(letter(1), 1);
        let buried = list.bury(letter(2), DEAD_LETTERS_BYTES_MAX + 1);
        assert_eq!((buried.dropped_keys, list.len()), (vec![1], 1));
    }
}
