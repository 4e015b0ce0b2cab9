//! Changes with an idempotency key, which take effect once however often they are sent.
//!
//! The twin remembers the key, a fingerprint of the request and the outcome in the row of its head, in the same entry as the
//! change: whatever survives, both do. A repeat is answered from there and is a read: it waits for what it rests on like any other.
//! What was refused is not remembered, since it had no effect; it is looked at anew.
//!
//! **How long.** A twin remembers [`IDEMPOTENCY_KEYS_MAX`](crate::limits::IDEMPOTENCY_KEYS_MAX) keys of changes and as many of method
//! calls. Where another of its kind needs the room the oldest goes, but only once it was remembered for [`IDEMPOTENCY_KEPT_MIN`](crate::limits::IDEMPOTENCY_KEPT_MIN); before that the new
//! change is refused and told when to come again. No wall clock is asked: a record says which owner made it and when by that owner's
//! monotonic clock. The same owner subtracts; another one knows only that the record is older than its own rule, and counts from
//! there. So a restart or a move makes a key live longer and never shorter; and grains, which come and go, have no part in it (an age
//! counted by the grain would begin anew with each activation, and a client that comes back only when it was told to would find
//! every key young again, for ever).
//!
//! **Method calls** are remembered when they are opened, which is before they are sent, with their number, and again with the device's
//! answer when they are closed: a repeat is told what is known and is never a second call. A call that reached no device frees its key.
//!
//! **Lives.** The records belong to a life of the id and end with it: no tombstone keeps them. A repeat that meets a later life is a
//! change of that life. Whoever must not let that happen adds `If-Match` or `If-None-Match: *`, whose etags never come again; a delete
//! takes no key for the same reason, as it would have to be remembered by what it deletes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::Command;
use crate::document::TwinDocument;
use crate::ids::IdempotencyKey;
use crate::numbers::{CallNo, Incarnation, OwnerOrder, Version};
use crate::record;
use crate::value::Value;

/// 128 bits of a hash of the request: of what it is to do, and under which condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(pub u64, pub u64);

/// A change with a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Once {
    /// The key.
    pub key: IdempotencyKey,
    /// Of the change.
    pub fingerprint: Fingerprint,
    /// [`Command::Put`], [`Command::Steer`], [`Command::SteerBriefly`] or [`Command::CallMethod`].
    pub change: Command,
}

/// What came of it, when it was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnceOutcome {
    /// It created the twin.
    pub created: bool,
    /// Version of the whole twin after it.
    pub version: u64,
    /// Version of desired after it.
    pub desired_version: Version,
    /// The steering etag after it, without quotes.
    pub steering_etag: String,
}

/// The answer, the same each time but for what the twin is by now.
#[derive(Clone, Debug, PartialEq)]
pub struct OnceAnswer {
    /// It was carried out before, and this time nothing was.
    pub replayed: bool,
    /// What came of it.
    pub outcome: OnceOutcome,
    /// The twin as it is now; not for a [`Command::SteerBriefly`].
    pub document: Option<Box<TwinDocument>>,
}

/// What the owner's clock says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerTime {
    /// Which owner.
    pub owner: OwnerOrder,
    /// Since when it is the owner, by its monotonic clock.
    pub begun: Duration,
    /// Now, by the same clock.
    pub now: Duration,
}

impl OwnerTime {
    /// For how long is remembered what an owner made at `made_at_ms` of its clock; at least.
    pub(crate) fn age_of(self, owner: OwnerOrder, made_at_ms: u64) -> Duration {
        let since = if owner == self.owner { Duration::from_millis(made_at_ms) } else { self.begun };
        self.now.saturating_sub(since)
    }
}

record! {
    /// What a device answered to a method call.
    #[derive(Clone, Debug, PartialEq)]
    pub struct CallAnswer {
        /// HTTP-like.
        pub status: u16,
        /// What it said.
        pub payload: Value,
        /// It was larger than what is kept, and `payload` is null.
        pub is_cut: bool = false,
    }
}

record! {
    /// A method call that had a key.
    #[derive(Clone, Debug, PartialEq)]
    pub struct KnownCall {
        /// Its number.
        pub call: CallNo,
        /// What the device answered, once that is known.
        pub answer: Option<CallAnswer> = None,
    }
}

record! {
    /// A change that had a key, as it is remembered.
    #[derive(Clone, Debug, PartialEq)]
    pub struct KeyRecord {
        /// The key.
        pub key: IdempotencyKey,
        /// Of the change.
        pub fingerprint: Fingerprint,
        /// It created the twin.
        pub created: bool,
        /// Version of the whole twin after it.
        pub version: u64,
        /// Version of tags after it.
        pub tags_version: Version,
        /// Version of desired after it.
        pub desired_version: Version,
        /// Who made it.
        pub owner: OwnerOrder,
        /// When, by the maker's monotonic clock, in milliseconds.
        pub made_at_ms: u64,
        /// It was a method call.
        pub call: Option<KnownCall> = None,
    }
}

impl KeyRecord {
    /// For how long it was remembered, at least.
    pub(crate) fn age(&self, time: OwnerTime) -> Duration {
        time.age_of(self.owner, self.made_at_ms)
    }

    pub(crate) fn outcome(&self, incarnation: Incarnation) -> OnceOutcome {
        let Self { created, version, tags_version, desired_version, .. } = *self;
        let steering_etag = format!("{incarnation}-{tags_version}-{desired_version}");
        OnceOutcome { created, version, desired_version, steering_etag }
    }
}
