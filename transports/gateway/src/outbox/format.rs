//! How the outbox lies on disk. One table per family of keys; rows are records that only ever grow at the end.

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use twin_core::ids::TwinId;
use twin_core::numbers::{AttachmentNo, Boot, OutboxId, Seq, Stay};
use twin_core::record;

use crate::outbox::dictionary::PathsNeeded;

/// `outbox` -> [`OutboxMeta`], `flash` -> [`FlashRow`], `dead_letters` -> [`DeadLettersRow`].
pub(crate) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Order of append -> messages that were appended together, see [`crate::outbox::row`].
pub(crate) const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");
/// Key of a chunk -> [`Note`] of what became of single messages in it.
pub(crate) const NOTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("notes");
/// A path's number in bodies -> its keys.
pub(crate) const PATHS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("paths");
/// Twin id -> [`TwinRow`].
pub(crate) const TWINS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("twins");
/// Name of a source -> position.
pub(crate) const POSITIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("positions");
/// Order of refusal -> [`crate::outbox::dead_letters::DeadLetter`].
pub(crate) const DEAD_LETTERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead_letters");

/// Key of the identity's row in [`META`].
pub(crate) const META_KEY: &str = "outbox";
/// Key of the row there of what is left of the flash budget: [`FlashRow`].
pub(crate) const FLASH_KEY: &str = "flash";
/// Key of the row there of how many dead letters there were: [`DeadLettersRow`].
pub(crate) const DEAD_LETTERS_KEY: &str = "dead_letters";
/// Version of this layout. Version 1 had a row for each message, version 2 knew no alarms.
pub(crate) const FORMAT_VERSION: u32 = 3;
/// The oldest version that is read, and becomes the present one by being opened: what differs is only what it never holds.
pub(crate) const FORMAT_VERSION_MIN: u32 = 2;

record! {
    /// What the outbox is.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct OutboxMeta {
        /// [`FORMAT_VERSION`] that wrote it.
        pub(crate) format: u32,
        /// Identity.
        pub(crate) outbox: OutboxId,
        /// How often it was opened.
        pub(crate) boot: u64,
        /// Dead letters dropped for room so far.
        pub(crate) dead_letters_dropped: u64 = 0,
    }
}

record! {
    /// What is left of the flash budget, at least.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct FlashRow {
        /// In bytes; below nothing, if more was written than there was.
        pub(crate) left_bytes: i64,
    }
}

record! {
    /// What must be known of dead letters that are gone.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct DeadLettersRow {
        /// How many were dropped for room.
        pub(crate) dropped: u64,
        /// All keys below were given out.
        pub(crate) next_key: u64,
    }
}

record! {
    /// What must be known of a message to put it in order; the body follows it in the row.
    #[derive(Clone, Debug, PartialEq)]
    pub(crate) struct Header {
        /// Whose.
        pub(crate) twin: TwinId,
        /// The stay that stamped it; of an event only the boot counts.
        pub(crate) stay: Stay,
        /// First number covered.
        pub(crate) first: Seq,
        /// How many numbers more.
        pub(crate) more: u64,
        /// State, event or alarm.
        pub(crate) class: Class,
        /// How much of the dictionary of paths the body needs.
        pub(crate) paths: PathsNeeded,
    }
}

record! {
    /// What became of single messages of a chunk whose row is still there. Places are counted from the chunk's first message.
    #[derive(Clone, Debug, PartialEq, Default)]
    pub(crate) struct Note {
        /// Places of those that are done: acked, coalesced into another, or dead letters.
        pub(crate) gone: Vec<u32>,
        /// Places of those whose content is a dead letter, with the refusal's code: in their stead goes word that their numbers
        /// are lost.
        pub(crate) lost: Vec<(u32, String)> = Vec::new(),
    }
}

record! {
    /// What must be known of a device after a restart.
    #[derive(Clone, Debug, PartialEq, Default)]
    pub(crate) struct TwinRow {
        /// Last attachment number heard of.
        pub(crate) saw: AttachmentNo,
        /// The last stay of ours that was attached, and under which number.
        pub(crate) attached: Option<(Stay, AttachmentNo)> = None,
        /// All state and alarms up to this stay are done, whatever rows say.
        pub(crate) done: Stay = Stay::default(),
        /// All events up to this boot are done.
        pub(crate) done_events: Boot = Boot::new(0),
    }
}

/// The class of a message: each has a numbering of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Reports and what else is numbered with them.
    #[serde(rename = "s")]
    State,
    /// Events.
    #[serde(rename = "e")]
    Event,
    /// Alarms.
    #[serde(rename = "a")]
    Alarm,
}

/// Encodes a record for a row of its own.
pub(crate) fn encode_record<T: Serialize>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec(record).unwrap_or_else(|error| unreachable!("a record always encodes: {error}"))
}
