//! Waiting for what is to come about by itself.

use std::time::{Duration, Instant};

use twin_gateway::{Gateway, Status};

/// Looks until it holds.
#[track_caller]
pub fn until<T: std::fmt::Debug>(look: impl Fn() -> T, holds: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + Duration::from_secs(40);
    loop {
        let seen = look();
        if holds(&seen) {
            return seen;
        }
        assert!(Instant::now() < deadline, "it never came to hold: {seen:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
pub fn connected(gateway: &Gateway) -> Status {
    until(|| gateway.status(), |status| status.connected)
}

#[track_caller]
pub fn refused(gateway: &Gateway, code: &str) -> String {
    let is_refused = |status: &Status| status.refusal.as_ref().is_some_and(|(found, _)| found == code);
    let status = until(|| gateway.status(), is_refused);
    assert!(!status.connected);
    status.refusal.unwrap().1
}
