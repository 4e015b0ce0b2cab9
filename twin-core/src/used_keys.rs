//! Idempotency keys of changes whose answer is not kept: those of sites, and of credentials, whose secrets are stored nowhere.
//!
//! As [`crate::once`] has it for twins: a key stands in the row of what it changed, in the same entry; there is a bound, and a young key
//! is not forgotten for a new one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::IdempotencyKey;
use crate::limits::IDEMPOTENCY_KEPT_MIN;
use crate::numbers::OwnerOrder;
use crate::once::{Fingerprint, OwnerTime};
use crate::record;
use crate::refusal::Refusal;

record! {
    /// A key that was used.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct UsedKey {
        /// The key.
        pub key: IdempotencyKey,
        /// Of the change.
        pub fingerprint: Fingerprint,
        /// The change made something new.
        pub created: bool,
        /// Who remembers it.
        pub owner: OwnerOrder,
        /// Since when, by the owner's monotonic clock, in milliseconds.
        pub made_at_ms: u64,
    }
}

/// A change with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedChange {
    /// The key.
    pub key: IdempotencyKey,
    /// Of the change.
    pub fingerprint: Fingerprint,
}

/// The keys that a row remembers, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsedKeys(Vec<UsedKey>);

impl UsedKeys {
    /// Is this key among them?
    pub fn holds(&self, key: &IdempotencyKey) -> bool {
        self.0.iter().any(|used| used.key == *key)
    }

    /// The change, if it was made before. Refused where its key was used for another one, and where there is no room for a new key;
    /// `of` says in that whose keys they are: "changes of site a".
    pub fn find(
        &self,
        change: &KeyedChange,
        time: OwnerTime,
        keys_max: usize,
        of: &dyn fmt::Display,
    ) -> Result<Option<&UsedKey>, Refusal> {
        if let Some(used) = self.0.iter().find(|used| used.key == change.key) {
            if used.fingerprint != change.fingerprint {
                return Err(Refusal::KeyReused { key: change.key.to_string(), used_for: format!("one of the {of}") });
            }
            return Ok(Some(used));
        }
        let Some(oldest) = self.0.first().filter(|_| self.0.len() >= keys_max) else { return Ok(None) };
        let left = IDEMPOTENCY_KEPT_MIN.saturating_sub(time.age_of(oldest.owner, oldest.made_at_ms));
        if left.is_zero() {
            return Ok(None);
        }
        let retry_after_ms = left.as_nanos().div_ceil(1_000_000) as u64;
        Err(Refusal::KeysUsedUp { keys: keys_max as u64, of: of.to_string(), retry_after_ms })
    }

    /// Remembers a change, in place of the oldest if there are too many, which [`UsedKeys::find`] allowed. To be committed together
    /// with the change.
    pub fn remember(&mut self, change: KeyedChange, created: bool, time: OwnerTime, keys_max: usize) {
        let KeyedChange { key, fingerprint } = change;
        let made_at_ms = time.now.as_millis() as u64;
        let forgotten = (self.0.len() + 1).saturating_sub(keys_max);
        self.0.drain(..forgotten.min(self.0.len()));
        self.0.push(UsedKey { key, fingerprint, created, owner: time.owner, made_at_ms });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn change(key: usize, body: u64) -> KeyedChange {
        let key = IdempotencyKey::new(&format!("k{key}")).expect("a valid key");
        KeyedChange { key, fingerprint: Fingerprint(body, 0) }
    }

    fn at(now: Duration) -> OwnerTime {
        OwnerTime { now, ..OwnerTime::default() }
    }

    fn find<'a>(keys: &'a UsedKeys, change: &KeyedChange, time: OwnerTime) -> Result<Option<&'a UsedKey>, Refusal> {
        keys.find(change, time, 2, &"changes of x")
    }

    #[test]
    fn a_key_is_found_again_and_stands_for_one_change() {
        let mut keys = UsedKeys::default();
        assert_eq!(find(&keys, &change(1, 1), at(Duration::ZERO)), Ok(None));
        keys.remember(change(1, 1), true, at(Duration::ZERO), 2);
        let found = find(&keys, &change(1, 1), at(Duration::ZERO)).map(|used| used.map(|used| used.created));
        assert_eq!(found, Ok(Some(true)));
        let refused = Refusal::KeyReused { key: "k1".into(), used_for: "one of the changes of x".into() };
        assert_eq!(find(&keys, &change(1, 2), at(Duration::ZERO)), Err(refused));
        assert!(keys.holds(&change(1, 2).key) && !keys.holds(&change(2, 2).key));
    }

    #[test]
    fn a_young_key_is_not_forgotten_for_a_new_one_and_an_old_one_is() {
        let mut keys = UsedKeys::default();
        keys.remember(change(1, 1), true, at(Duration::ZERO), 2);
        keys.remember(change(2, 1), true, at(Duration::from_secs(1)), 2);
        let later = at(Duration::from_secs(100));
        let refused = Refusal::KeysUsedUp { keys: 2, of: "changes of x".into(), retry_after_ms: 200_000 };
        assert_eq!(find(&keys, &change(3, 1), later), Err(refused));
        let old = at(IDEMPOTENCY_KEPT_MIN);
        assert_eq!(find(&keys, &change(3, 1), old), Ok(None));
        keys.remember(change(3, 1), true, old, 2);
        assert!(find(&keys, &change(2, 1), old).is_ok_and(|used| used.is_some()), "one went, not more");
        assert_ne!(find(&keys, &change(1, 1), old).map(|used| used.is_some()), Ok(true));
    }
}
