//! How many files the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit to what the system allows. Shells and systemd give 1,024, from the days of `select`, which we do not use; the
/// REST alone may have three times as many connections and handles of theirs.
pub(crate) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        // Refused by a sandbox: then it is as it was.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
