//! Panics of redb's as errors.
//!
//! redb checks a page's sum when it repairs a file, not when it reads one: what a damaged page says is believed until it contradicts
//! itself, which is found by assertions and by indexes that are out of bounds. Whatever reads or writes a file of redb's does so in here.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

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
