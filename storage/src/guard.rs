//! Panics of redb's as errors.
//!
//! redb checks a page's sum when it repairs a file, not when it reads one: what a damaged page says is believed until it contradicts
//! itself, which is found by assertions and by indexes that are out of bounds. Whatever reads or writes a file of redb's does so in here.

use std::any::Any;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};

use redb::Database;

use crate::failure::DataFile;

thread_local! {
    /// Is a panic of this thread one of redb's checks, which is told as an error?
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Catches a panic, and keeps it from being printed: the error that it becomes is all there is to say.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> std::thread::Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    QUIET.set(before);
    outcome
}

/// Reads or writes a file of redb's: where its checks of a damaged one panic, it is an error.
pub(crate) fn guarded<T, E: From<redb::StorageError>>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    quietly(work).unwrap_or_else(|panic| Err(contradiction(&*panic).into()))
}

/// What a panic of redb's says of its file.
pub(crate) fn contradiction(panic: &(dyn Any + Send)) -> redb::StorageError {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let said = said.and_then(|said| said.lines().next()).unwrap_or("no reason given");
    redb::StorageError::Corrupted(format!("its structure contradicts itself: {said}"))
}

/// A file of redb's that is open.
///
/// redb reads and writes a last time when it is closed, and what it then panics with over a damaged page may panic again while it
/// unwinds, which ends the process. **Invariant:** `log.redb` is not touched when it is closed. All that is in it was written by commits of
/// its own, at the start; the next one finds it as after a kill, which is a matter of a millisecond.
#[derive(Debug)]
pub(crate) struct OpenDatabase {
    file: DataFile,
    /// Gone once it is closed.
    database: Option<Database>,
    /// Ends all reading and writing of it.
    over: Arc<AtomicBool>,
}

impl OpenDatabase {
    pub(crate) fn new(file: DataFile, database: Database, over: Arc<AtomicBool>) -> Self {
        Self { file, database: Some(database), over }
    }

    /// Closes the file; what redb panics with is an error.
    pub(crate) fn close(mut self) -> Result<(), redb::StorageError> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<(), redb::StorageError> {
        if self.file == DataFile::Log {
            self.over.store(true, Ordering::Relaxed);
        }
        let database = self.database.take();
        guarded(|| {
            drop(database);
            Ok(())
        })
    }
}

impl Deref for OpenDatabase {
    type Target = Database;

    fn deref(&self) -> &Database {
        match &self.database {
            Some(database) => database,
            None => unreachable!("whoever closes it has it for the last time"),
        }
    }
}

impl DerefMut for OpenDatabase {
    fn deref_mut(&mut self) -> &mut Database {
        match &mut self.database {
            Some(database) => database,
            None => unreachable!("whoever closes it has it for the last time"),
        }
    }
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        // Nobody is there to be told, as where a start was refused for something else.
        if let Err(error) = self.let_go() {
            tracing::error!(file = %self.file, %error, "the file is damaged, which was found when it was closed");
        }
    }
}
