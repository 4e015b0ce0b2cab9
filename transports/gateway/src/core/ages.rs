//! How old the oldest message in the outbox is, told from few notes: when which message was appended.

use std::collections::VecDeque;
use std::time::Duration;

use crate::limits::{AGE_NOTE_EVERY, AGE_NOTES_MAX};

/// Some messages by key, with when they were appended: none closer than [`AGE_NOTE_EVERY`] to the one before.
///
/// What was appended between two of them is taken for as old as the earlier one. When there are too many, the one goes whose
/// neighbours are closest: of a backlog of an hour minutes are known, of one of a minute seconds.
#[derive(Debug, Default)]
pub(crate) struct Ages(VecDeque<(u64, Duration)>);

impl Ages {
    /// A message was appended. Its key is above those before it.
    pub(crate) fn appended(&mut self, key: u64, now: Duration) {
        if self.0.back().is_some_and(|(_, at)| now < *at + AGE_NOTE_EVERY) {
            return;
        }
        self.0.push_back((key, now));
        if self.0.len() > AGE_NOTES_MAX {
            let gap = |place: &usize| self.0[place + 1].1.saturating_sub(self.0[place - 1].1);
            if let Some(place) = (1..self.0.len() - 1).min_by_key(gap) {
                self.0.remove(place);
            }
        }
    }

    /// There is no message: what comes is younger than all that was.
    pub(crate) fn none_left(&mut self) {
        self.0.clear();
    }

    /// The age of the message with this key, which is the oldest there is. One that was there before the first note was there when
    /// this run began, at zero.
    pub(crate) fn of_oldest(&mut self, key: u64, now: Duration) -> Duration {
        while self.0.get(1).is_some_and(|(next, _)| *next <= key) {
            self.0.pop_front();
        }
        let since = self.0.front().filter(|(first, _)| *first <= key).map_or(Duration::ZERO, |(_, at)| *at);
        now.saturating_sub(since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_oldest_message_is_as_old_as_the_note_before_it() {
        let mut ages = Ages::default();
        let appended = |key| s(100) + Duration::from_millis(100 * key);
        for key in 10..600 {
            ages.appended(key, appended(key));
        }
        // Notes are a second apart, so the age is at most that much too high.
        for key in [10, 499, 500, 599] {
            let (age, real) = (ages.of_oldest(key, s(300)), s(300).saturating_sub(appended(key)));
            assert!(age >= real && age < real + AGE_NOTE_EVERY, "{key}: {age:?} is not about {real:?}");
        }
        ages.none_left();
        ages.appended(700, s(299));
        assert_eq!(ages.of_oldest(700, s(300)), s(1));
        assert_eq!(Ages::default().of_oldest(7, s(30)), s(30), "from before this run");
        let mut later = Ages::default();
        later.appended(5, s(20));
        assert_eq!(later.of_oldest(3, s(30)), s(30), "likewise, with others after it");
    }

    #[test]
    fn notes_have_a_bound_and_old_ages_stay_about_right() {
        let mut ages = Ages::default();
        for key in 0..100_000 {
            ages.appended(key, s(key));
        }
        assert!(ages.0.len() <= AGE_NOTES_MAX, "{}", ages.0.len());
        for key in [1, 50_000, 99_000] {
            let (age, real) = (ages.of_oldest(key, s(100_000)).as_secs(), 100_000 - key);
            assert!(age >= real && age <= real + 100_000 / 16, "{key}: {age} is not about {real}");
        }
    }
}
