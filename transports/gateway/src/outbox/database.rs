//! The database in the outbox file, while it is open.
//!
//! **Invariant:** a file that is closed is as its last commit left it, like after a kill. redb would give the free pages at the file's end
//! back to the disk as it closes; where the disk is full by the next start, there would be no page for the boot that must be durable before
//! anything is stamped with it, and what is in the outbox could not even be sent. A small outbox has what [`super::kept_file`] keeps; a
//! larger one what its last commits left free, as each leaves about as many pages as it wrote.

use std::ops::Deref;

use redb::Database;

use crate::outbox::held_file::HeldFile;

/// An outbox that is open. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct OutboxDatabase {
    db: Database,
    file: HeldFile,
}

impl OutboxDatabase {
    /// The database in this file.
    pub(crate) fn new(db: Database, file: HeldFile) -> Self {
        Self { db, file }
    }
}

impl Deref for OutboxDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.db
    }
}

impl Drop for OutboxDatabase {
    fn drop(&mut self) {
        // All that is committed is synced. What redb writes as it closes, after this, goes nowhere.
        self.file.hold_back();
    }
}
